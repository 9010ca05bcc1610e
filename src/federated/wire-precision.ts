/**
 * The adapter in fewer bits on its way: what server and clients send each other is rounded to what its encoding can hold, and bytes are those of the
 * encoded vector. The server keeps its weights in single precision; a client starts from the rounded ones, and the server adds the client's rounded
 * update to its own weights, so rounding on the way down does not add up over rounds. Everything is a function of the values alone.
 */
import { problemError } from "../errors.js";
import type { TrainTask } from "./protocol.js";
import type { Strategy } from "./strategy.js";

/** Encodings of a vector: IEEE single and half precision, bfloat16, and ggml's Q8_0: blocks of 32 with 8 bits each and a half-precision scale. */
export const WIRE_PRECISIONS = ["f32", "f16", "bf16", "q8_0"] as const;
export type WirePrecision = (typeof WIRE_PRECISIONS)[number];

const BLOCK_LENGTH = 32;
const BLOCK_BYTES = BLOCK_LENGTH + 2;
const F16_MAX = 65504;

/** Bytes of so many numbers. The last block of Q8_0 is padded. */
export function encodedBytes(length: number, precision: WirePrecision = "f32"): number {
  switch (precision) {
    case "f32":
      return 4 * length;
    case "f16":
    case "bf16":
      return 2 * length;
    case "q8_0":
      return Math.ceil(length / BLOCK_LENGTH) * BLOCK_BYTES;
  }
}

/** What the receiver decodes. A number that the encoding cannot hold becomes one that is not finite, which is refused like any such. */
export function roundToWire(values: Float32Array, precision: WirePrecision = "f32"): Float32Array {
  switch (precision) {
    case "f32":
      return values;
    case "f16":
      return values.map(toHalf);
    case "bf16":
      return toBfloat16(values);
    case "q8_0":
      return toQ8Blocks(values);
  }
}

/** Nearest half-precision number, ties to even; infinite above the largest. */
function toHalf(value: number): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  // Numbers below 2^-14 are subnormal and have the distance of those above.
  const exponent = Math.max(-14, exponentOf(value));
  const distance = 2 ** (exponent - 10);
  const rounded = roundHalfToEven(value / distance) * distance;
  return Math.abs(rounded) > F16_MAX ? Math.sign(value) * Number.POSITIVE_INFINITY : rounded;
}

const oneFloat = new Float32Array(1);
const oneBits = new Uint32Array(oneFloat.buffer);

/** floor(log2 |value|) of a normal single-precision number; below -126 for others. */
function exponentOf(value: number): number {
  oneFloat[0] = value;
  return (((oneBits[0] ?? 0) >>> 23) & 0xff) - 127;
}

/** The division by a power of two before it was exact, so a tie is one. */
function roundHalfToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** The upper 16 bits of each number, rounded to nearest, ties to even. */
function toBfloat16(values: Float32Array): Float32Array {
  const result = values.slice();
  const bits = new Uint32Array(result.buffer);
  for (const [index, value] of bits.entries()) {
    // NaN would turn into infinity when its fraction is cut.
    if (!Number.isNaN(values[index])) bits[index] = (value + 0x7fff + ((value >>> 16) & 1)) & 0xffff0000;
  }
  return result;
}

/** Per block d = max |x| / 127, stored in half precision, and round(x / d) by ggml's rule: halves away from zero. */
function toQ8Blocks(values: Float32Array): Float32Array {
  const result = new Float32Array(values.length);
  for (let start = 0; start < values.length; start += BLOCK_LENGTH) {
    const block = values.subarray(start, start + BLOCK_LENGTH);
    const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const stored = toHalf(scale);
    for (const [index, value] of block.entries()) {
      const scaled = Math.fround(value * inverse);
      result[start + index] = Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5) * stored;
    }
  }
  return result;
}

/**
 * Throws CONFIG_INVALID for a method whose server and clients must agree on more than one vector, or on the sent weights later on: rounding
 * would part what they take to be equal.
 */
export function checkWirePrecision(strategy: Strategy, precision: WirePrecision | undefined, place = ""): void {
  if (precision === undefined || precision === "f32") return;
  const reason = refusalOf(strategy);
  if (reason === undefined) return;
  const expected = `f32 with strategy ${strategy.name}, ${reason}`;
  throw problemError("CONFIG_INVALID", { subject: `federation.adapterPrecision${place}`, expected, received: precision });
}

function refusalOf({ asynchronous, keepsFrozen, trainsInner, serverSide, sendsControlVariates }: Strategy): string | undefined {
  if (sendsControlVariates === true) return "whose control variates are a second vector that server and clients both keep";
  if (asynchronous !== undefined) return "whose server mixes updates with the weights it sent earlier";
  if (keepsFrozen === true) return "which keeps adapters beside the trained one that all must have alike";
  if (trainsInner === true) return "whose fixed matrices all must have alike";
  return serverSide === undefined ? undefined : "whose clients have a second adapter of the server's";
}

/** The strategy with tasks in this precision, which clients answer in the same. One that sends nothing stays as it is. Throws as checkWirePrecision. */
export function withWirePrecision(strategy: Strategy, precision: WirePrecision | undefined): Strategy {
  checkWirePrecision(strategy, precision);
  if (precision === undefined || precision === "f32" || !strategy.exchangesWeights) return strategy;
  return {
    ...strategy,
    configure: (state, cohort, context) => {
      // Clients that are sent the same weights are sent them rounded once.
      const rounded = new Map<Float32Array, Float32Array>();
      return strategy.configure(state, cohort, context).map((task) => encodeTask(task, precision, rounded));
    },
  };
}

function encodeTask(task: TrainTask, encoding: WirePrecision, rounded: Map<Float32Array, Float32Array>): TrainTask {
  const { weights, proximal, sentOuter, sentFrozen, serverControlVariate } = task;
  if ((sentOuter ?? sentFrozen ?? serverControlVariate) !== undefined) {
    throw problemError("CONFIG_INVALID", { subject: "federation.adapterPrecision", expected: "f32 with a strategy that sends more than the adapter's weights", received: encoding });
  }
  const sent = rounded.get(weights) ?? roundToWire(weights, encoding);
  rounded.set(weights, sent);
  // A client is held to the weights it was sent, since it has no others.
  const anchored = proximal?.anchor === weights ? { proximal: { ...proximal, anchor: sent } } : {};
  return { ...task, weights: sent, encoding, ...anchored };
}
