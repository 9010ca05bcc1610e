/** Reads PNG files as far as the specification's simplest form goes (8 bits, RGBA, no interlacing), independently of who writes them. */
import { inflateSync } from "node:zlib";

export interface Pixels {
  readonly width: number;
  readonly height: number;
  /** Red, green, blue, alpha; rows from the top. */
  readonly data: Uint8Array;
}

const SIGNATURE = "89504e470d0a1a0a";
const CHANNELS = 4;

/** Throws for a file of another form. */
export function decodePng(bytes: Uint8Array): Pixels {
  const file = Buffer.from(bytes);
  if (file.subarray(0, 8).toString("hex") !== SIGNATURE) throw new TypeError("no PNG");
  const chunks = readChunks(file);
  const header = chunks.find(({ type }) => type === "IHDR")?.data ?? Buffer.alloc(13);
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)];
  if (header.subarray(8).toString("hex") !== "0806000000") throw new TypeError("not 8 bits of RGBA without interlacing");
  const packed = Buffer.concat(chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data));
  return { width, height, data: unfilter(inflateSync(packed), width, height) };
}

function readChunks(file: Buffer): { type: string; data: Buffer }[] {
  const chunks: { type: string; data: Buffer }[] = [];
  for (let start = 8; start < file.length; ) {
    const length = file.readUInt32BE(start);
    chunks.push({ type: file.toString("latin1", start + 4, start + 8), data: file.subarray(start + 8, start + 8 + length) });
    start += 12 + length;
  }
  return chunks;
}

function unfilter(filtered: Buffer, width: number, height: number): Uint8Array {
  const stride = width * CHANNELS;
  const data = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = filtered[y * (stride + 1)] ?? 0;
    for (let x = 0; x < stride; x++) {
      const at = y * stride + x;
      const left = x < CHANNELS ? 0 : (data[at - CHANNELS] ?? 0);
      const up = y === 0 ? 0 : (data[at - stride] ?? 0);
      const corner = x < CHANNELS || y === 0 ? 0 : (data[at - stride - CHANNELS] ?? 0);
      const predicted = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter] ?? 0;
      data[at] = (filtered[y * (stride + 1) + 1 + x] ?? 0) + predicted;
    }
  }
  return data;
}

function paeth(left: number, up: number, corner: number): number {
  const estimate = left + up - corner;
  const [a, b, c] = [Math.abs(estimate - left), Math.abs(estimate - up), Math.abs(estimate - corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}
