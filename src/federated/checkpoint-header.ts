/** The JSON headers of a checkpoint and of a client's state: made from states, checked field by field when read. */
import { assert } from "../util/assert.js";
import type { NamedState } from "./protocol.js";
import type { Snapshot } from "./records.js";

type Numbers = Readonly<Record<string, number>>;

/** A vector in the data part; vectors lie there one after the other. */
export interface VectorEntry {
  readonly name: string;
  /** Count of float32 numbers. */
  readonly length: number;
}

/** A state: its numbers, and its vectors in the order of the data. */
export interface StateHeader {
  readonly numbers: Numbers;
  readonly vectors: readonly VectorEntry[];
}

/** The server's state, and where the clients' states are. */
export interface CheckpointHeader extends StateHeader {
  readonly round: number;
  readonly configFingerprint: string;
  readonly layoutFingerprint: string;
  /** Clients with a state of their own, and the SHA-256 of its file in hex. */
  readonly clients: readonly { readonly id: string; readonly hash: string }[];
}

/** The header of a snapshot whose clients' states are in files already. */
export function encodeHeader(
  { round, state: { server } }: Snapshot,
  identity: { readonly configFingerprint: string; readonly layoutFingerprint: string },
  clientHashes: ReadonlyMap<string, string>,
): CheckpointHeader {
  assertExactNumbers(server.numbers);
  return {
    round,
    ...identity,
    numbers: server.numbers,
    clients: [...clientHashes].map(([id, hash]) => ({ id, hash })),
    vectors: Object.entries(server.arrays).map(([name, { length }]) => ({ name, length })),
  };
}

/** JSON has no NaN, no infinities and no -0. */
export function assertExactNumbers(numbers: NamedState["numbers"]): void {
  const exact = Object.values(numbers).every((value) => Number.isFinite(value) && !Object.is(value, -0));
  assert(exact, "numbers of a state are finite");
}

/** Undefined for a text that is not a header; the hash has been checked, so this is no damage but a foreign writer. */
export function decodeHeader(text: string): CheckpointHeader | undefined {
  const value = parse(text);
  return isStateHeader(value) && isCheckpointHeader(value) ? value : undefined;
}

/** The same for the file of a client's state. */
export function decodeStateHeader(text: string): StateHeader | undefined {
  const value = parse(text);
  return isStateHeader(value) ? value : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isCheckpointHeader(value: object): value is CheckpointHeader {
  const fields = new Map<string, unknown>(Object.entries(value));
  return (
    isCount(fields.get("round")) &&
    typeof fields.get("configFingerprint") === "string" &&
    typeof fields.get("layoutFingerprint") === "string" &&
    isArrayOf(fields.get("clients"), isClient)
  );
}

function isStateHeader(value: unknown): value is StateHeader {
  return (
    isRecord(value) &&
    isRecord(value["numbers"]) &&
    Object.values(value["numbers"]).every(Number.isFinite) &&
    isArrayOf(value["vectors"], isVector)
  );
}

function isClient(value: unknown): boolean {
  return isRecord(value) && typeof value["id"] === "string" && typeof value["hash"] === "string";
}

function isVector(value: unknown): boolean {
  return isRecord(value) && typeof value["name"] === "string" && isCount(value["length"]);
}

function isArrayOf(value: unknown, test: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(test);
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
