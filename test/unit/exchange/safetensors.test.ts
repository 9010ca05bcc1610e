/** Files of tensors: what is written reads back bit for bit, by an independent reader too, and hostile files are refused. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeNumbers, encodeNumbers } from "../../../src/exchange/number-types.js";
import { encodeSafetensors, readSafetensors } from "../../../src/exchange/safetensors.js";
import { makeTestFolder } from "../../helpers/native.js";

const folder = makeTestFolder();
const path = join(folder, "t.safetensors");

function fileOf(header: unknown, data: Uint8Array, changes: { length?: bigint; raw?: string } = {}): Buffer {
  const text = Buffer.from(changes.raw ?? JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(changes.length ?? BigInt(text.length));
  return Buffer.concat([length, text, data]);
}

const entry = (begin: number, end: number, changes: object = {}) => ({ dtype: "F32", shape: [1, (end - begin) / 4], data_offsets: [begin, end], ...changes });

describe("numbers", () => {
  test("every F16 and every BF16 comes back as the same bits", () => {
    const bytes = new Uint8Array(new Uint16Array(65_536).map((_, index) => index).buffer);
    for (const type of ["F16", "BF16"] as const) {
      const back = new Uint16Array(encodeNumbers(decodeNumbers(bytes, type), type).buffer);
      const numbers = decodeNumbers(bytes, type);
      const wrong = [...back].filter((bits, index) => bits !== index && !Number.isNaN(numbers[index]));
      expect(wrong).toEqual([]);
    }
  });

  test("numbers between are rounded to the nearest, ties to even", () => {
    // 1 + 1/2048 lies between 1 and 1 + 1/1024, whose last bits are 0 and 1.
    expect([...decodeNumbers(encodeNumbers(Float32Array.of(1 + 1 / 2048, 1 + 3 / 2048, 65_519, 65_520, 2 ** -25, 3 * 2 ** -26, -0), "F16"), "F16")]).toEqual([1, 1 + 2 / 1024, 65_504, Infinity, 0, 2 ** -24, -0]);
    expect([...decodeNumbers(encodeNumbers(Float32Array.of(1 + 1 / 256, 1 + 3 / 256, 1 + 1.01 / 256), "BF16"), "BF16")]).toEqual([1, 1 + 4 / 256, 1 + 2 / 256]);
  });
});

describe("a file", () => {
  const tensors = [
    { name: "b", shape: [2, 3], values: Float32Array.of(1, -0, 3e-42, 4, 5.5, -6) },
    { name: "a", shape: [1, 2], values: Float32Array.of(7, 8) },
  ] as const;

  test("comes back bit for bit, sorted by name, and says so to a reader of the format's description", async () => {
    const bytes = Buffer.concat([...encodeSafetensors(tensors, "F32")]);
    writeFileSync(path, bytes);
    const read = await readSafetensors(path);
    expect(read.map(({ name, shape }) => [name, shape])).toEqual([["a", [1, 2]], ["b", [2, 3]]]);
    expect([...(read[1]?.values ?? [])].map((value) => (Object.is(value, -0) ? "-0" : String(value)))).toEqual([...tensors[0].values].map((value) => (Object.is(value, -0) ? "-0" : String(value))));
    const headerLength = Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.subarray(8, 8 + headerLength).toString()) as Record<string, { data_offsets: [number, number] }>;
    expect(headerLength % 8).toBe(0);
    const start = 8 + headerLength + (header["b"]?.data_offsets[0] ?? 0);
    expect([0, 4, 5].map((index) => bytes.readFloatLE(start + 4 * index))).toEqual([1, 5.5, -6]);
    expect(header["__metadata__"]).toEqual({ format: "pt" });
  });

  const data = new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer);
  test.each<[string, Buffer]>([
    ["an empty file", Buffer.alloc(0)],
    ["a header longer than the file", fileOf({ a: entry(0, 16) }, data, { length: 1n << 62n })],
    ["a header of 2^64 - 1 bytes", fileOf({ a: entry(0, 16) }, data, { length: 0xffff_ffff_ffff_ffffn })],
    ["a header of no length", fileOf({ a: entry(0, 16) }, data, { length: 0n })],
    ["a header that is no JSON", fileOf({}, data, { raw: "{never" })],
    ["a header that is a list", fileOf([], data)],
    ["a header with blanks before", fileOf({}, data, { raw: ` ${JSON.stringify({ a: entry(0, 16) })}` })],
    ["a header that is no UTF-8", Buffer.concat([Buffer.from([4, 0, 0, 0, 0, 0, 0, 0]), Buffer.from([0x7b, 0xff, 0xfe, 0x7d]), data])],
    ["no tensors", fileOf({ __metadata__: { a: "b" } }, new Uint8Array())],
    ["metadata that is no text", fileOf({ __metadata__: { a: 1 }, a: entry(0, 16) }, data)],
    ["overlapping tensors", fileOf({ a: entry(0, 12), b: entry(8, 16) }, data)],
    ["a gap between tensors", fileOf({ a: entry(0, 4), b: entry(8, 16) }, data)],
    ["bytes after the last tensor", fileOf({ a: entry(0, 12) }, data)],
    ["a tensor beyond the file", fileOf({ a: entry(0, 32) }, data)],
    ["offsets that do not fit the shape", fileOf({ a: entry(0, 16, { shape: [1, 3] }) }, data)],
    ["offsets the wrong way round", fileOf({ a: entry(16, 0) }, data)],
    ["negative offsets", fileOf({ a: entry(-4, 12) }, data)],
    ["a shape of three lengths", fileOf({ a: entry(0, 16, { shape: [1, 2, 2] }) }, data)],
    ["a length of zero", fileOf({ a: entry(0, 16, { shape: [0, 4] }) }, data)],
    ["a shape that overflows", fileOf({ a: entry(0, 16, { shape: [2 ** 40, 2 ** 40] }) }, data)],
    ["numbers of another type", fileOf({ a: entry(0, 16, { dtype: "I32" }) }, data)],
    ["a field that is not known", fileOf({ a: entry(0, 16, { extra: 1 }) }, data)],
    ["the same name twice", fileOf({}, data, { raw: `{"a": ${JSON.stringify(entry(0, 8))}, "a": ${JSON.stringify(entry(8, 16))}}` })],
    ["NaN", fileOf({ a: entry(0, 8) }, new Uint8Array(Float32Array.of(1, Number.NaN).buffer))],
    ["infinity in half precision", fileOf({ a: entry(0, 4, { dtype: "F16", shape: [1, 2] }) }, new Uint8Array(Uint16Array.of(0x3c00, 0xfc00).buffer))],
  ])("with %s is refused", async (_, bytes) => {
    writeFileSync(path, bytes);
    await expect(readSafetensors(path)).rejects.toMatchObject({ code: "ADAPTER_INVALID", message: expect.stringContaining("expected") as string });
  });

  test("that is not there is an error of reading", async () => {
    await expect(readSafetensors(join(folder, "none"))).rejects.toMatchObject({ code: "IO_FAILED" });
  });
});
