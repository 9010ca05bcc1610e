/**
 * Where tensors lie on their way between a run and its workers: under the SHA-256 of their bytes, so that nobody can get others than those that were
 * meant, the same bytes travel once, and writing twice changes nothing. Stores are files of a shared folder, Redis and S3.
 */
import { createHash } from "node:crypto";
import { problemError } from "../errors.js";

export interface ArtifactStore {
  /** Keeps the bytes under their hash, completely or not at all; does nothing when they are there. Rejects with IO_FAILED. */
  put(sha256: string, bytes: Uint8Array): Promise<void>;
  /** The bytes as they were put. Rejects with ARTIFACT_INVALID when they are not there or are others, with IO_FAILED when the store cannot be read. */
  get(sha256: string): Promise<Uint8Array>;
  /** Removes what is there; the rest is no error. */
  remove(hashes: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** Bytes of the largest artifact: far above any adapter, below what would exhaust a machine. */
export const ARTIFACT_BYTES_MAX = 4 * 1024 ** 3;

const NAME_PATTERN = /^[0-9a-f]{64}$/u;

/** SHA-256 in hex, an artifact's name. */
export function hashBytes(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Throws ARTIFACT_INVALID for what is no name of an artifact, before it is a part of a path or a key. */
export function checkName(sha256: string): string {
  if (NAME_PATTERN.test(sha256)) return sha256;
  throw problemError("ARTIFACT_INVALID", { subject: "name of an artifact", expected: "a SHA-256 in hex", received: JSON.stringify(sha256.slice(0, 80)) });
}

/** The bytes, if they are those of the name. Throws ARTIFACT_INVALID. */
export function checkBytes(sha256: string, bytes: Uint8Array, where: string): Uint8Array {
  const received = hashBytes(bytes);
  if (received === sha256) return bytes;
  throw problemError("ARTIFACT_INVALID", { subject: `artifact in ${where}`, expected: `SHA-256 ${sha256}`, received });
}

/** For a store that has none of this name. */
export function missingArtifact(sha256: string, where: string): Error {
  const remedy = "It may have expired or been removed; the run puts it there again when the job is tried once more";
  return problemError("ARTIFACT_INVALID", { subject: `artifact ${sha256} in ${where}`, expected: "its bytes", received: "none", remedy });
}
