/** Numbers of half the size of F32 as files store them: IEEE half precision (F16) and the upper half of F32 (BF16), little-endian. */

/** As safetensors names them. */
export const NUMBER_TYPES = ["F32", "F16", "BF16"] as const;
export type NumberType = (typeof NUMBER_TYPES)[number];

/** Bytes of one number. */
export const NUMBER_BYTES: Readonly<Record<NumberType, number>> = { F32: 4, F16: 2, BF16: 2 };

const scratch = new Float32Array(1);
const bits = new Uint32Array(scratch.buffer);

/** The bytes of numbers in a type, rounded to the nearest, ties to even. Numbers beyond the type become infinite. */
export function encodeNumbers(values: Float32Array, type: NumberType): Uint8Array {
  const bytes = new Uint8Array(values.length * NUMBER_BYTES[type]);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) {
    if (type === "F32") view.setFloat32(4 * index, value, true);
    else view.setUint16(2 * index, type === "F16" ? halfOf(value) : upperHalfOf(value), true);
  }
  return bytes;
}

/** The numbers that bytes of a type stand for; exact. */
export function decodeNumbers(bytes: Uint8Array, type: NumberType): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.byteLength / NUMBER_BYTES[type] }, (_, index) => {
    if (type === "F32") return view.getFloat32(4 * index, true);
    const half = view.getUint16(2 * index, true);
    return type === "F16" ? fromHalf(half) : fromUpperHalf(half);
  });
}

function upperHalfOf(value: number): number {
  scratch[0] = value;
  const word = bits[0] ?? 0;
  if (Number.isNaN(value)) return 0x7fc0;
  // Half of the last bit that stays, less one where that bit is even, carries as rounding to even asks.
  return ((word + 0x7fff + ((word >>> 16) & 1)) >>> 16) & 0xffff;
}

function fromUpperHalf(half: number): number {
  bits[0] = half << 16;
  return scratch[0] ?? 0;
}

/** Largest number that rounds to a finite one is below this: 65504 and half of its last place. */
const HALF_OVERFLOW = 65_520;
/** Smallest normal number and the spacing below it. */
const HALF_MIN_NORMAL = 2 ** -14;
const HALF_SUBNORMAL_STEP = 2 ** -24;

function halfOf(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (Number.isNaN(value)) return 0x7e00;
  if (size >= HALF_OVERFLOW) return sign | 0x7c00;
  if (size < HALF_MIN_NORMAL) return sign | roundToEven(size / HALF_SUBNORMAL_STEP);
  const exponent = Math.floor(Math.log2(size));
  // log2 may be off by one at powers of two.
  const exact = 2 ** exponent > size ? exponent - 1 : 2 ** (exponent + 1) <= size ? exponent + 1 : exponent;
  // Rounding up to the next power of two carries into the exponent, which lies above.
  return sign | (((exact + 14) << 10) + roundToEven((size / 2 ** exact) * 1024));
}

function fromHalf(half: number): number {
  const sign = (half & 0x8000) === 0 ? 1 : -1;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * HALF_SUBNORMAL_STEP : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function roundToEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
