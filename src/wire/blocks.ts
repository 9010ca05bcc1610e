/**
 * ggml's blocks of 32 numbers with one half-precision scale d in front. Q8_0: d = max |x| / 127 and round(x / d), halves away from zero, in a
 * byte each. Q4_0: d = m / -8 with m the number of largest magnitude, and min(15, floor(x / d + 8.5)) in four bits each, number i of the
 * block in the lower half of byte i and number i + 16 in the upper. The last block is padded with zeros.
 *
 * With M the block's largest magnitude a number is off by at most M / 254 in Q8_0 and M / 16 in Q4_0, where what lies within half a step of -m
 * may be off by up to M / 8, and besides by the rounding of d to 11 bits, at most M / 2048.
 */
import { fromHalfBits, toHalfBits } from "./half.js";

export const BLOCK_LENGTH = 32;

/** Bytes of a block. */
export const Q8_BYTES = 2 + BLOCK_LENGTH;
export const Q4_BYTES = 2 + BLOCK_LENGTH / 2;

export function encodeQ8(values: Float32Array): Buffer {
  return encodeBlocks(values, Q8_BYTES, (block, bytes, start) => {
    const scale = Math.fround(block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    bytes.writeUInt16LE(toHalfBits(scale), start);
    for (let index = 0; index < BLOCK_LENGTH; index++) {
      const scaled = Math.fround((block[index] ?? 0) * inverse);
      bytes.writeInt8(Math.sign(scaled) * Math.floor(Math.abs(scaled) + 0.5), start + 2 + index);
    }
  });
}

export function encodeQ4(values: Float32Array): Buffer {
  return encodeBlocks(values, Q4_BYTES, (block, bytes, start) => {
    const largest = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const scale = Math.fround(largest / -8);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    const code = (index: number) => Math.min(15, Math.floor(Math.fround(Math.fround((block[index] ?? 0) * inverse) + 8.5)));
    bytes.writeUInt16LE(toHalfBits(scale), start);
    for (let index = 0; index < BLOCK_LENGTH / 2; index++) bytes[start + 2 + index] = code(index) | (code(index + BLOCK_LENGTH / 2) << 4);
  });
}

/** Undefined when what pads the last block is not zero. */
export function decodeQ8(bytes: Buffer, numValues: number): Float32Array | undefined {
  return decodeBlocks(numValues, (block, index) => {
    const start = block * Q8_BYTES;
    return [fromHalfBits(bytes.readUInt16LE(start)), bytes.readInt8(start + 2 + index)];
  });
}

/** As decodeQ8. */
export function decodeQ4(bytes: Buffer, numValues: number): Float32Array | undefined {
  return decodeBlocks(numValues, (block, index) => {
    const start = block * Q4_BYTES;
    const pair = bytes[start + 2 + (index % (BLOCK_LENGTH / 2))] ?? 0;
    return [fromHalfBits(bytes.readUInt16LE(start)), (index < BLOCK_LENGTH / 2 ? pair & 15 : pair >> 4) - 8];
  });
}

function encodeBlocks(values: Float32Array, blockBytes: number, encode: (block: Float32Array, bytes: Buffer, start: number) => void): Buffer {
  const numBlocks = Math.ceil(values.length / BLOCK_LENGTH);
  const bytes = Buffer.alloc(numBlocks * blockBytes);
  for (let block = 0; block < numBlocks; block++) {
    encode(values.subarray(block * BLOCK_LENGTH, (block + 1) * BLOCK_LENGTH), bytes, block * blockBytes);
  }
  return bytes;
}

function decodeBlocks(numValues: number, read: (block: number, index: number) => readonly [scale: number, code: number]): Float32Array | undefined {
  const values = new Float32Array(numValues);
  const numPadded = Math.ceil(numValues / BLOCK_LENGTH) * BLOCK_LENGTH;
  for (let position = 0; position < numPadded; position++) {
    const [scale, code] = read(Math.floor(position / BLOCK_LENGTH), position % BLOCK_LENGTH);
    if (position < numValues) values[position] = scale * code;
    else if (code !== 0) return undefined;
  }
  return values;
}
