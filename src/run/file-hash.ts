/** SHA-256 of files, streamed, so that models of many gigabytes need no memory. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { FedllmError } from "../errors.js";

/** In hexadecimal digits. Throws IO_FAILED. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  try {
    await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FedllmError("IO_FAILED", `cannot read ${path}: ${reason}`, { cause: error });
  }
  return hash.digest("hex");
}
