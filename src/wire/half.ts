/** Numbers of 16 bits: IEEE half precision and bfloat16. Rounding is to nearest, ties to even. */

const oneFloat = new Float32Array(1);
const oneBits = new Uint32Array(oneFloat.buffer);

/** The bits of the nearest half-precision number; infinity above the largest. */
export function toHalfBits(value: number): number {
  oneFloat[0] = value;
  const bits = oneBits[0] ?? 0;
  const sign = (bits >>> 16) & 0x8000;
  const exponent = ((bits >>> 23) & 0xff) - 112;
  const fraction = bits & 0x7fffff;
  if (exponent === 143) return sign | 0x7c00 | (fraction === 0 ? 0 : 0x200);
  if (exponent >= 31) return sign | 0x7c00;
  // Below the normal numbers the leading one is written out and moves right.
  if (exponent < -10) return sign;
  if (exponent <= 0) return sign | shiftToEven(fraction | 0x800000, 14 - exponent);
  return sign | ((exponent << 10) + shiftToEven(fraction, 13));
}

/** The half-precision number of these bits. */
export function fromHalfBits(bits: number): number {
  const sign = (bits & 0x8000) === 0 ? 1 : -1;
  const exponent = (bits >>> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** The upper 16 bits of the nearest number that has no others. */
export function toBfloatBits(value: number): number {
  oneFloat[0] = value;
  const bits = oneBits[0] ?? 0;
  // NaN would turn into infinity when its fraction is cut.
  if (Number.isNaN(value)) return (bits >>> 16) | 0x40;
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

export function fromBfloatBits(bits: number): number {
  oneBits[0] = bits << 16;
  return oneFloat[0] ?? 0;
}

/** value / 2^shift, rounded. */
function shiftToEven(value: number, shift: number): number {
  const below = value >>> shift;
  const rest = value & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  return rest > half || (rest === half && (below & 1) === 1) ? below + 1 : below;
}
