/**
 * Files of tensors in the safetensors format: 8 bytes with the length of a header (little-endian), the header as JSON
 * ({name: {dtype, shape, data_offsets}}), and the numbers one tensor after another. The reader trusts nothing: every number of the header is
 * checked before anything is read by it.
 */
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { z } from "zod";
import { FedllmError, problemError } from "../errors.js";
import { NUMBER_BYTES, NUMBER_TYPES, decodeNumbers, encodeNumbers } from "./number-types.js";
import type { NumberType } from "./number-types.js";

/** A matrix as PyTorch has it: rows one after another. */
export interface StoredTensor {
  readonly name: string;
  /** [rows, columns]. */
  readonly shape: readonly [number, number];
  readonly values: Float32Array;
}

/** Headers of adapters are of some kilobytes; the format allows 100 MB. */
const HEADER_BYTES_MAX = 16 * 2 ** 20;
/** Bytes of all tensors; far above real adapters. */
const DATA_BYTES_MAX = 2 ** 34;
const LENGTH_BYTES = 8;
const METADATA = "__metadata__";

const entrySchema = z.strictObject({
  dtype: z.enum(NUMBER_TYPES),
  shape: z.tuple([z.int().min(1), z.int().min(1)]),
  data_offsets: z.tuple([z.int().min(0), z.int().min(0)]),
});
const metadataSchema = z.record(z.string(), z.string());

/** The whole file in pieces, tensors sorted by name. Equal tensors give equal bytes. */
export function* encodeSafetensors(tensors: readonly StoredTensor[], type: NumberType): Generator<Uint8Array> {
  const sorted = [...tensors].sort((left, right) => (left.name < right.name ? -1 : 1));
  const header: Record<string, unknown> = { [METADATA]: { format: "pt" } };
  let offset = 0;
  for (const { name, shape, values } of sorted) {
    const end = offset + values.length * NUMBER_BYTES[type];
    header[name] = { dtype: type, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = Buffer.from(JSON.stringify(header), "utf8");
  // Blanks, so that numbers begin at a multiple of 8.
  const padded = Buffer.concat([text, Buffer.alloc((8 - (text.length % 8)) % 8, " ")]);
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeBigUInt64LE(BigInt(padded.length));
  yield length;
  yield padded;
  for (const { values } of sorted) yield encodeNumbers(values, type);
}

/** Reads all tensors. Throws IO_FAILED, or ADAPTER_INVALID for anything that is not such a file of finite matrices in F32, F16 or BF16. */
export async function readSafetensors(path: string): Promise<readonly StoredTensor[]> {
  let file: FileHandle;
  try {
    file = await open(path, "r");
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot read ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  try {
    const { size } = await file.stat();
    const headerLength = await readHeaderLength(file, path, size);
    const start = LENGTH_BYTES + headerLength;
    const header = parseHeader(await readAt(file, path, LENGTH_BYTES, headerLength), path);
    checkPlaces(header, path, size - start);
    const tensors: StoredTensor[] = [];
    for (const { name, dtype, shape, data_offsets: [begin, end] } of header) {
      const values = decodeNumbers(await readAt(file, path, start + begin, end - begin), dtype);
      const bad = values.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) throw invalid(path, `tensor ${name}`, "finite numbers", `${String(values[bad])} at place ${String(bad)}`);
      tensors.push({ name, shape, values });
    }
    return tensors;
  } finally {
    await file.close();
  }
}

type HeaderEntry = z.output<typeof entrySchema> & { readonly name: string };

async function readHeaderLength(file: FileHandle, path: string, size: number): Promise<number> {
  if (size < LENGTH_BYTES + 2) throw invalid(path, "the file", "a header", `${String(size)} bytes`);
  const length = (await readAt(file, path, 0, LENGTH_BYTES)).readBigUInt64LE();
  const limit = Math.min(HEADER_BYTES_MAX, size - LENGTH_BYTES);
  if (length >= 2n && length <= BigInt(limit)) return Number(length);
  throw invalid(path, "length of the header", `2 to ${String(limit)} bytes`, String(length));
}

async function readAt(file: FileHandle, path: string, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(buffer, done, length - done, position + done);
    if (bytesRead === 0) throw invalid(path, "the file", `${String(position + length)} bytes`, "its end before");
    done += bytesRead;
  }
  return buffer;
}

function parseHeader(bytes: Buffer, path: string): readonly HeaderEntry[] {
  const header = parseJson(bytes, path);
  const entries: HeaderEntry[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === METADATA) {
      if (!metadataSchema.safeParse(value).success) throw invalid(path, METADATA, "texts by name", JSON.stringify(value).slice(0, 80));
      continue;
    }
    const parsed = entrySchema.safeParse(value);
    if (!parsed.success) {
      throw invalid(path, `tensor ${name}`, `dtype ${NUMBER_TYPES.join(", ")}, a shape of two lengths and data_offsets of two places`, JSON.stringify(value).slice(0, 120));
    }
    entries.push({ name, ...parsed.data });
  }
  if (entries.length === 0) throw invalid(path, "the header", "tensors", "none");
  return entries;
}

function parseJson(bytes: Buffer, path: string): Readonly<Record<string, unknown>> {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    const header: unknown = JSON.parse(text);
    if (text.startsWith("{") && typeof header === "object" && header !== null) return header as Record<string, unknown>;
  } catch (error) {
    throw invalid(path, "the header", "a JSON object", error instanceof Error ? error.message : String(error));
  }
  throw invalid(path, "the header", "a JSON object", "something else");
}

/** Tensors must fill the data without a gap and without an overlap; this also finds names that are there twice. */
function checkPlaces(entries: readonly HeaderEntry[], path: string, dataBytes: number): void {
  if (dataBytes > DATA_BYTES_MAX) throw invalid(path, "tensors", `at most ${String(DATA_BYTES_MAX)} bytes`, String(dataBytes));
  let next = 0;
  for (const { name, dtype, shape, data_offsets: [begin, end] } of [...entries].sort((left, right) => left.data_offsets[0] - right.data_offsets[0])) {
    if (begin !== next) throw invalid(path, `tensor ${name}`, `a beginning at ${String(next)}, where the one before ends`, String(begin));
    const bytes = shape[0] * shape[1] * NUMBER_BYTES[dtype];
    if (end - begin !== bytes || end > dataBytes) {
      throw invalid(path, `tensor ${name}`, `${String(bytes)} bytes for its shape, within the file's ${String(dataBytes)}`, `${String(begin)} to ${String(end)}`);
    }
    next = end;
  }
  if (next !== dataBytes) throw invalid(path, "tensors", `${String(dataBytes)} bytes, all of the file's`, String(next));
}

function invalid(path: string, what: string, expected: string, received: string): FedllmError {
  return problemError("ADAPTER_INVALID", { subject: `${path}: ${what}`, expected, received });
}
