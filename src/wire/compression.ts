/**
 * Lossless compression of payloads. Deflate and Brotli are in every Node this program runs on; Zstandard is from 22.15 on, and is refused at
 * configuration where it is missing.
 */
import zlib from "node:zlib";
import { problemError } from "../errors.js";

/** A message names them by their place here, from 1. */
export const COMPRESSIONS = ["deflate", "brotli", "zstd"] as const;
export type Compression = (typeof COMPRESSIONS)[number];

interface Options {
  readonly info: true;
  readonly maxOutputLength: number;
}
/** With `info` a decompressor also gives its engine, which knows how many bytes it read. */
type Decompress = (bytes: Uint8Array, options: Options) => { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } };
type Compress = (bytes: Uint8Array) => Buffer;

/** What Node calls it; those that this one does not have are absent. */
const functions = zlib as unknown as Readonly<Record<string, (bytes: Uint8Array, options?: unknown) => unknown>>;

function named(name: Compression): { readonly compress: Compress; readonly decompress: Decompress } | undefined {
  const [compress, decompress] = {
    deflate: [functions["deflateRawSync"], functions["inflateRawSync"]],
    brotli: [functions["brotliCompressSync"], functions["brotliDecompressSync"]],
    zstd: [functions["zstdCompressSync"], functions["zstdDecompressSync"]],
  }[name];
  // The highest quality of Brotli, which is its default, takes seconds for a megabyte.
  const options = name === "brotli" ? { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } } : undefined;
  if (compress === undefined || decompress === undefined) return undefined;
  return { compress: (bytes) => compress(bytes, options) as Buffer, decompress: decompress as unknown as Decompress };
}

/** Throws CONFIG_INVALID for a compression that this Node does not have; `subject` is the field that asks for it. */
export function checkCompression(name: Compression, subject: string): void {
  if (named(name) !== undefined) return;
  throw problemError("CONFIG_INVALID", {
    subject,
    expected: "a compression that this Node has (deflate, brotli)",
    received: `${name} with Node ${process.versions.node}`,
    remedy: "Zstandard is in Node 22.15 and later; or choose deflate",
  });
}

/** Throws CONFIG_INVALID as checkCompression. */
export function compress(bytes: Uint8Array, name: Compression): Buffer {
  checkCompression(name, "compression");
  return named(name)?.compress(bytes) ?? Buffer.alloc(0);
}

/** Undefined for bytes that are not one whole compressed stream of at most `maxBytes`, with nothing behind it. No more than those are allocated. */
export function decompress(bytes: Uint8Array, name: Compression, maxBytes: number): Buffer | undefined {
  try {
    const result = named(name)?.decompress(bytes, { info: true, maxOutputLength: Math.max(1, maxBytes) });
    return result?.engine.bytesWritten === bytes.length ? result.buffer : undefined;
  } catch {
    return undefined;
  }
}
