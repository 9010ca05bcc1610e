/** The JSON header of a checkpoint: made from a snapshot, and checked field by field when it is read. */
import { assert } from "../util/assert.js";
import type { NamedState } from "./protocol.js";
import type { Snapshot } from "./records.js";

type Numbers = Readonly<Record<string, number>>;

/** A vector in the data part; vectors lie there one after the other. */
export interface VectorEntry {
  /** 0: the server; k: the k-th client of `clients`, from 1. */
  readonly owner: number;
  readonly name: string;
  /** Count of float32 numbers. */
  readonly length: number;
}

export interface CheckpointHeader {
  readonly round: number;
  readonly configFingerprint: string;
  readonly layoutFingerprint: string;
  readonly server: { readonly numbers: Numbers };
  readonly clients: readonly { readonly id: string; readonly numbers: Numbers }[];
  readonly vectors: readonly VectorEntry[];
}

/** The header of a snapshot and its vectors in the order of the data. */
export function encodeHeader(
  { round, state }: Snapshot,
  identity: { readonly configFingerprint: string; readonly layoutFingerprint: string },
): { header: CheckpointHeader; vectors: readonly Float32Array[] } {
  const clients = [...state.clients];
  const owners: readonly NamedState[] = [state.server, ...clients.map(([, client]) => client)];
  const entries: VectorEntry[] = [];
  const vectors: Float32Array[] = [];
  for (const [owner, { arrays, numbers }] of owners.entries()) {
    // JSON has no NaN, no infinities and no -0.
    const exact = Object.values(numbers).every((value) => Number.isFinite(value) && !Object.is(value, -0));
    assert(exact, "numbers of a state are finite");
    for (const [name, vector] of Object.entries(arrays)) {
      entries.push({ owner, name, length: vector.length });
      vectors.push(vector);
    }
  }
  const header: CheckpointHeader = {
    round,
    ...identity,
    server: { numbers: state.server.numbers },
    clients: clients.map(([id, { numbers }]) => ({ id, numbers })),
    vectors: entries,
  };
  return { header, vectors };
}

/** Undefined for a text that is not a header; the hash has been checked, so this is no damage but a foreign writer. */
export function decodeHeader(text: string): CheckpointHeader | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isHeader(value) ? value : undefined;
}

function isHeader(value: unknown): value is CheckpointHeader {
  return (
    isRecord(value) &&
    isCount(value["round"]) &&
    typeof value["configFingerprint"] === "string" &&
    typeof value["layoutFingerprint"] === "string" &&
    isOwner(value["server"]) &&
    isArrayOf(value["clients"], (client) => isOwner(client) && typeof client["id"] === "string") &&
    isArrayOf(value["vectors"], isVector)
  );
}

function isOwner(value: unknown): value is Record<string, unknown> {
  return isRecord(value) && isRecord(value["numbers"]) && Object.values(value["numbers"]).every(Number.isFinite);
}

function isVector(value: unknown): boolean {
  return isRecord(value) && isCount(value["owner"]) && typeof value["name"] === "string" && isCount(value["length"]);
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
