/**
 * Event files of TensorBoard, one folder for each arm: records of TensorFlow (length, masked CRC32C of the length, bytes, masked CRC32C of the bytes) that hold
 * Event messages of protocol buffers with wall_time (1), step (2), file_version (3) and summary (5: value (1) with tag (1) and simple_value (2)).
 */
import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { TrackedPoint } from "../metrics/tracked-points.js";
import type { Sink } from "./sink.js";

/** Writes below a folder; files there of the same run are written anew. startMs: when the run began, which names the files. */
export function tensorboardSink(folder: string, startMs: number): Sink {
  const files = new Map<string, string>();
  const fileOf = async (arm: string): Promise<string> => {
    const known = files.get(arm);
    if (known !== undefined) return known;
    await mkdir(join(folder, arm), { recursive: true });
    const path = join(folder, arm, `events.out.tfevents.${String(Math.floor(startMs / 1000))}.fedllm`);
    await writeFile(path, encodeRecord(versionEvent(startMs)));
    files.set(arm, path);
    return path;
  };
  return {
    name: "tensorboard",
    write: async (points) => {
      for (const arm of new Set(points.map((point) => point.arm))) {
        const own = points.filter((point) => point.arm === arm);
        await appendFile(await fileOf(arm), Buffer.concat(own.map((point) => encodeRecord(scalarEvent(point)))));
      }
    },
    finish: () => Promise.resolve(),
  };
}

function versionEvent(timeMs: number): Buffer {
  return Buffer.concat([doubleField(1, timeMs / 1000), bytesField(3, Buffer.from("brain.Event:2"))]);
}

function scalarEvent({ name, round, value, timeMs }: TrackedPoint): Buffer {
  const scalar = Buffer.concat([bytesField(1, Buffer.from(name)), floatField(2, value)]);
  return Buffer.concat([doubleField(1, timeMs / 1000), varintField(2, round), bytesField(5, bytesField(1, scalar))]);
}

/** One record of TensorFlow's format. */
export function encodeRecord(data: Buffer): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  return Buffer.concat([length, maskedChecksum(length), data, maskedChecksum(data)]);
}

function maskedChecksum(data: Buffer): Buffer {
  const crc = crc32c(data);
  const masked = Buffer.alloc(4);
  masked.writeUInt32LE((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  return masked;
}

/** Castagnoli's polynomial, reflected. */
const POLYNOMIAL = 0x82f63b78;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) === 1 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value >>> 0;
});

/** CRC32C of bytes. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of data) crc = (crc >>> 8) ^ (TABLE[(crc ^ byte) & 0xff] ?? 0);
  return (crc ^ 0xffff_ffff) >>> 0;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

const tag = (field: number, wireType: number): Buffer => varint(field * 8 + wireType);
const varintField = (field: number, value: number): Buffer => Buffer.concat([tag(field, 0), varint(value)]);
const bytesField = (field: number, value: Buffer): Buffer => Buffer.concat([tag(field, 2), varint(value.length), value]);

function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([tag(field, 1), bytes]);
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(Math.fround(value));
  return Buffer.concat([tag(field, 5), bytes]);
}
