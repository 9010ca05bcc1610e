/** Values as bytes and back: the same bits, and refusals of bytes that are not what they say. */
import { describe, expect, test } from "vitest";
import { hashBytes } from "../../../src/executor/artifacts.js";
import { packValue, unpackValue } from "../../../src/executor/packed-values.js";

const none = (sha256: string) => Promise.reject(new Error(`asked for ${sha256}`));
const roundTrip = async (value: unknown) => {
  const { bytes, arrays } = packValue(value);
  return unpackValue(bytes, (sha256) => Promise.resolve(arrays.get(sha256) ?? new Uint8Array()));
};

describe("packed values", () => {
  test("come back bit for bit, numbers that JSON cannot say and odd places of arrays included", async () => {
    const longer = new Float64Array(9);
    const value = {
      numbers: [0, -0, 0.1, 1e-310, Number.MAX_VALUE, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
      nested: { text: "Zoë 北", yes: true, nothing: null, list: [{ a: 1 }, []] },
      bits: new Float32Array([Number.NaN, -0, 1e-45, 3]),
      doubles: longer.subarray(3, 7).fill(0.1),
      tokens: Int32Array.of(-1, 7),
      supervised: Uint8Array.of(1, 0, 1),
      empty: new Uint32Array(0),
    };
    const back = (await roundTrip(value)) as typeof value;
    expect(back).toEqual(value);
    expect(Object.is(back.numbers[1], -0)).toBe(true);
    expect(Buffer.from(back.bits.buffer)).toEqual(Buffer.from(value.bits.buffer));
  });

  test("leave out what is undefined", async () => {
    expect(Object.keys((await roundTrip({ a: undefined, b: 1 })) as object)).toEqual(["b"]);
  });

  test("have long arrays beside them, by their hash, once", () => {
    const weights = Float32Array.from({ length: 20_000 }, (_, index) => index / 7);
    const { bytes, arrays } = packValue({ weights, anchor: weights, short: Float32Array.of(1) });
    const raw = new Uint8Array(weights.buffer);
    expect([...arrays.keys()]).toEqual([hashBytes(raw)]);
    expect(bytes.length).toBeLessThan(1000);
    // Half of the same memory is another array.
    expect([...packValue({ half: weights.subarray(0, 16_500) }).arrays.keys()]).toEqual([hashBytes(raw.subarray(0, 66_000))]);
  });

  test.each([
    ["no pack", Buffer.from("something else, long enough"), /expected a packed value/u],
    ["a cut header", packValue({ a: [1, 2, 3] }).bytes.slice(0, 20), /whole header/u],
    ["cut data", packValue({ a: Float64Array.of(1, 2) }).bytes.slice(0, -1), /bytes of an array/u],
    ["another version", Buffer.from(packValue(1).bytes).fill(9, 8, 9), /expected version 1, received version 9/u],
  ])("refuse %s", async (_, bytes, message) => {
    await expect(unpackValue(bytes, none)).rejects.toThrow(message);
    await expect(unpackValue(bytes, none)).rejects.toMatchObject({ code: "ARTIFACT_INVALID" });
  });

  test.each([
    ["a negative place", '{"@":["f32",1,-4]}'],
    ["a length beyond the data", '{"@":["f64",9000000000,0]}'],
    ["an unknown type", '{"@":["toString",1,0]}'],
    ["a word for a number", '{"#":"constructor"}'],
  ])("refuse %s in a header", async (_, header) => {
    const prefix = Buffer.alloc(16);
    prefix.write("FEDLLMPV", "ascii");
    prefix.writeUInt32LE(1, 8);
    prefix.writeUInt32LE(header.length, 12);
    await expect(unpackValue(Buffer.concat([prefix, Buffer.from(header), Buffer.alloc(8)]), none)).rejects.toMatchObject({ code: "ARTIFACT_INVALID" });
  });
});
