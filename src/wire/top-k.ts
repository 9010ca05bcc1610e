/**
 * The numbers of largest magnitude, and where they stand. Places are written as gaps between neighbours in Golomb-Rice code (Golomb 1966,
 * "Run-length encodings"; Rice and Plaunt 1971): gap / 2^b in ones and a zero, then the lower b bits, with b from the mean gap, so that a
 * place costs log2(n / k) + 1.5 bits instead of log2 n. Each list of places has one code, which ends within the last byte, zeros behind it.
 */
import { assert } from "../util/assert.js";

/** How many of `count` numbers a part of them is: at least one of any. */
export function keptCount(count: number, part: number): number {
  return Math.min(count, Math.ceil(count * part));
}

/**
 * Places of the `numKept` numbers of largest magnitude, ascending; of equal ones those that come first. Finite numbers only. The smallest that is
 * kept is found by counting, the upper bits of magnitudes first, so that time grows with the length alone.
 */
export function largestPlaces(values: Float32Array, numKept: number): Uint32Array {
  assert(numKept <= values.length, "no more numbers are kept than there are");
  const magnitudes = new Uint32Array(values.slice().buffer).map((bits) => bits & 0x7fffffff);
  let [smallest, rank] = [0, numKept];
  for (const [shift, width] of [[20, 11], [10, 10], [0, 10]] as const) {
    const counts = new Uint32Array(2 ** width);
    const known = shift + width;
    for (const bits of magnitudes) {
      const bin = (bits >>> shift) & (counts.length - 1);
      if (bits >>> known === smallest >>> known) counts[bin] = (counts[bin] ?? 0) + 1;
    }
    let bin = counts.length - 1;
    for (; bin > 0 && (counts[bin] ?? 0) < rank; bin--) rank -= counts[bin] ?? 0;
    smallest += bin * 2 ** shift;
  }
  const places = new Uint32Array(numKept);
  let next = 0;
  for (const [place, bits] of magnitudes.entries()) {
    // Of those that equal the smallest `rank` are kept.
    if (next < numKept && (bits > smallest || (bits === smallest && rank-- > 0))) places[next++] = place;
  }
  return places;
}

/** Lower bits of a gap that are written as they are: log2(n ln 2 / k), rounded down. */
function lowBits(count: number, numKept: number): number {
  let bits = 0;
  if (numKept === 0) return bits;
  while (2 ** (bits + 1) * numKept * 100 <= 69 * count) bits += 1;
  return bits;
}

/** Most bytes of the places of so many. */
export function gapBytesBound(count: number, numKept: number): number {
  const low = lowBits(count, numKept);
  return Math.ceil((numKept * (low + 1) + Math.floor((count - numKept) / 2 ** low)) / 8);
}

/** The code of ascending places below `count`. */
export function encodePlaces(places: Uint32Array, count: number): Buffer {
  const low = lowBits(count, places.length);
  const bytes = Buffer.alloc(gapBytesBound(count, places.length));
  let position = 0;
  const write = (bit: number) => {
    if (bit === 1) bytes[position >> 3] = (bytes[position >> 3] ?? 0) | (1 << (position & 7));
    position += 1;
  };
  let former = -1;
  for (const place of places) {
    const gap = place - former - 1;
    for (let ones = gap >>> low; ones > 0; ones--) write(1);
    write(0);
    for (let bit = 0; bit < low; bit++) write((gap >>> bit) & 1);
    former = place;
  }
  return bytes.subarray(0, Math.ceil(position / 8));
}

/** The places; undefined for bytes that encodePlaces cannot give. */
export function decodePlaces(bytes: Buffer, count: number, numKept: number): Uint32Array | undefined {
  const low = lowBits(count, numKept);
  const numBits = 8 * bytes.length;
  const places = new Uint32Array(numKept);
  let position = 0;
  const read = () => ((bytes[position >> 3] ?? 0) >> (position++ & 7)) & 1;
  let former = -1;
  for (let index = 0; index < numKept; index++) {
    let gap = 0;
    while (position < numBits && read() === 1) gap += 1;
    gap *= 2 ** low;
    for (let bit = 0; bit < low; bit++) gap += read() * 2 ** bit;
    former += gap + 1;
    if (position > numBits || former >= count) return undefined;
    places[index] = former;
  }
  if (numBits - position >= 8) return undefined;
  while (position < numBits) if (read() === 1) return undefined;
  return places;
}
