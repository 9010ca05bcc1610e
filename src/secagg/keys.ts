/**
 * X25519 key pairs (RFC 7748) and keys derived from what two of them agree on by HKDF-SHA-256 (RFC 5869), by node:crypto. Every derived key is
 * bound to the attempt by the salt, and to its use and its two ends by the info, so no key serves twice.
 */
import { createPrivateKey, createPublicKey, diffieHellman, generateKeyPairSync, hkdfSync, type KeyObject } from "node:crypto";
import { problemError } from "../errors.js";

export const KEY_BYTES = 32;

/** What stands before the raw key in PKCS #8 and in SubjectPublicKeyInfo (RFC 8410). */
const SECRET_PREFIX = Buffer.from("302e020100300506032b656e04220420", "hex");
const PUBLIC_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

export interface KeyPair {
  readonly secretKey: KeyObject;
  /** 32 bytes. */
  readonly publicKey: Uint8Array;
}

export function createKeyPair(): KeyPair {
  const { privateKey, publicKey } = generateKeyPairSync("x25519");
  return { secretKey: privateKey, publicKey: rawPublicKey(publicKey) };
}

/** From the 32 bytes that {@link rawSecretKey} gives. */
export function keyPairOf(secret: Uint8Array): KeyPair {
  const secretKey = createPrivateKey({ key: Buffer.concat([SECRET_PREFIX, secret]), format: "der", type: "pkcs8" });
  return { secretKey, publicKey: rawPublicKey(createPublicKey(secretKey)) };
}

export function rawSecretKey({ secretKey }: KeyPair): Uint8Array {
  return Uint8Array.from(secretKey.export({ format: "der", type: "pkcs8" }).subarray(SECRET_PREFIX.length));
}

function rawPublicKey(key: KeyObject): Uint8Array {
  return Uint8Array.from(key.export({ format: "der", type: "spki" }).subarray(PUBLIC_PREFIX.length));
}

/** The 32 bytes both ends get. Throws PROTOCOL_VIOLATED for a public key of small order, with which everybody would get zeros. */
export function agree({ secretKey }: KeyPair, publicKey: Uint8Array): Uint8Array {
  try {
    return diffieHellman({ privateKey: secretKey, publicKey: createPublicKey({ key: Buffer.concat([PUBLIC_PREFIX, publicKey]), format: "der", type: "spki" }) });
  } catch (error) {
    throw problemError("PROTOCOL_VIOLATED", { subject: "public key", expected: "a point of X25519 that is not of small order", received: Buffer.from(publicKey).toString("hex") }, error);
  }
}

/** What a derived key is for; a mask key has the lower index first, a channel key the sender. */
export type KeyUse = "own mask" | "pairwise mask" | "channel";

/** 32 bytes. */
export function deriveKey(material: Uint8Array, { attempt, round }: { readonly attempt: Uint8Array; readonly round: number }, use: KeyUse, ...ends: readonly number[]): Uint8Array {
  const info = `fedllm-native secure aggregation, round ${String(round)}, ${use} ${ends.join(" ")}`;
  return new Uint8Array(hkdfSync("sha256", material, attempt, info, KEY_BYTES));
}
