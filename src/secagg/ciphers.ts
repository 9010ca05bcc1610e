/**
 * What keys are used for: AES-256-GCM for shares on their way (NIST SP 800-38D), and AES-256 in counter mode as the generator of masks
 * (SP 800-38A). Each key encrypts one message or makes one stream, so the nonce may be zero.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { problemError } from "../errors.js";

export const TAG_BYTES = 16;
const NONCE = Buffer.alloc(12);
const COUNTER = Buffer.alloc(16);
/** Bytes of a mask that are made at once; they stay in the processor's cache. */
const ZEROS = Buffer.alloc(1 << 16);

/** The ciphertext and behind it the tag. */
export function seal(key: Uint8Array, plaintext: Uint8Array): Uint8Array {
  const cipher = createCipheriv("aes-256-gcm", key, NONCE);
  return Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** Throws PROTOCOL_VIOLATED for anything but what {@link seal} made with the same key. */
export function open(key: Uint8Array, sealed: Uint8Array, sender: string): Uint8Array {
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, NONCE, { authTagLength: TAG_BYTES });
    decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
    return Buffer.concat([decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES)), decipher.final()]);
  } catch (error) {
    throw problemError("PROTOCOL_VIOLATED", { subject: `shares of ${sender}`, expected: "what that client sealed for this one in this attempt", received: "something else" }, error);
  }
}

/** Adds the key's stream of 32-bit words to the values, or takes it from them, modulo 2^32. */
export function applyMask(values: Uint32Array, key: Uint8Array, sign: 1 | -1): void {
  const cipher = createCipheriv("aes-256-ctr", key, COUNTER);
  const wordsPerBlock = ZEROS.length / Uint32Array.BYTES_PER_ELEMENT;
  for (let start = 0; start < values.length; start += wordsPerBlock) {
    const count = Math.min(wordsPerBlock, values.length - start);
    const bytes = cipher.update(ZEROS.subarray(0, count * Uint32Array.BYTES_PER_ELEMENT));
    const words = wordsOf(bytes);
    if (sign === 1) for (let i = 0; i < count; i++) values[start + i] = ((values[start + i] ?? 0) + (words[i] ?? 0)) | 0;
    else for (let i = 0; i < count; i++) values[start + i] = ((values[start + i] ?? 0) - (words[i] ?? 0)) | 0;
  }
}

/** Little-endian, as the processors are that ggml's files are read on. */
function wordsOf(bytes: Uint8Array): Uint32Array {
  const isAligned = bytes.byteOffset % Uint32Array.BYTES_PER_ELEMENT === 0;
  const { buffer, byteOffset, byteLength } = isAligned ? bytes : Uint8Array.from(bytes);
  return new Uint32Array(buffer, byteOffset, byteLength / Uint32Array.BYTES_PER_ELEMENT);
}
