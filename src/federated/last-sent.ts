/**
 * What clients have of the weights that were sent to them, so that a later round sends what changed since. The server keeps one vector for
 * each shape of slice, the last that it sent, as decoded, and for each client the round in which it answered to one. A client that
 * answered to the last one gets the difference to it; any other gets that vector's next state whole, in single precision, so that all have the same bits.
 * Before round 1 all have the initial adapter. What an encoding left out of a difference is in the next one, so errors do not add up.
 * Memory: 4 bytes a number for each shape and for the initial adapter at the server, and for the shapes it was sent at a client.
 */
import type { AdapterLayout } from "../adapter/layout.js";
import { gatherSlice, type AdapterSlice } from "../adapter/slice.js";
import { assert } from "../util/assert.js";
import type { CohortMember, NamedState } from "./protocol.js";

/** Names that strategies do not use. */
const INITIAL = "wire:initial";
const SENT = "wire:sent ";
const ROUND = "wire:round of ";
const SEEN = "wire:seen ";
const START = "wire:";

/** The state before round 1. */
export function withInitial(state: NamedState, initial: Float32Array): NamedState {
  return { ...state, arrays: { ...state.arrays, [INITIAL]: initial } };
}

/** The last that was sent of a slice; before that, the initial adapter's part. */
export function lastSent({ arrays }: NamedState, layout: AdapterLayout, slice: AdapterSlice | undefined): Float32Array {
  const stored = arrays[SENT + keyOf(slice)];
  if (stored !== undefined) return stored;
  const initial = arrays[INITIAL];
  assert(initial !== undefined, "the state before round 1 has the initial adapter");
  return slice === undefined ? initial : gatherSlice(initial, layout, slice);
}

/** Whether the client has it. */
export function hasLastSent({ numbers }: NamedState, clientId: string, slice: AdapterSlice | undefined): boolean {
  const key = keyOf(slice);
  return (numbers[SEEN + key + of(clientId)] ?? 0) === (numbers[ROUND + key] ?? 0);
}

/** Vectors that were sent in a round, and who answered to them. */
export interface SentSlice {
  readonly slice: AdapterSlice | undefined;
  readonly values: Float32Array;
  readonly members: readonly CohortMember[];
}

/** The next state of the strategy with what is kept here, carried on from the state before. */
export function withSent(next: NamedState, before: NamedState, round: number, sent: readonly SentSlice[]): NamedState {
  const [arrays, numbers] = [new Map(Object.entries(before.arrays).filter(isOurs)), new Map(Object.entries(before.numbers).filter(isOurs))];
  for (const { slice, values, members } of sent) {
    const key = keyOf(slice);
    arrays.set(SENT + key, values);
    numbers.set(ROUND + key, round);
    for (const { clientId } of members) numbers.set(SEEN + key + of(clientId), round);
  }
  return { arrays: { ...next.arrays, ...Object.fromEntries(arrays) }, numbers: { ...next.numbers, ...Object.fromEntries(numbers) } };
}

/** The same text for slices of one shape. */
export function keyOf(slice: AdapterSlice | undefined): string {
  return `${slice?.half ?? "both"}${slice?.ranks === undefined ? "" : ` ${slice.ranks.join(",")}`}`;
}

function of(clientId: string): string {
  return ` of ${clientId}`;
}

function isOurs([name]: readonly [string, unknown]): boolean {
  return name.startsWith(START);
}
