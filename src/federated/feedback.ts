/**
 * Error feedback (Seide et al. 2014, "1-Bit Stochastic Gradient Descent and its Application to Data-Parallel Distributed Training of Speech
 * DNNs", section 3; Karimireddy et al. 2019, "Error Feedback Fixes SignSGD and other Gradient Compression Schemes", algorithm 1): what an
 * encoding left out of an update, e, is added to the next one, c = u + e; what is decoded from c counts, and e becomes c minus it. So what was sent in
 * all rounds together is the sum of all updates minus the last e. c is rounded to single precision; c minus what was sent is exact, since an
 * encoding's error is at most half a step, of which single precision has all multiples that c can be off by.
 *
 * e is part of the client's own state, in checkpoints like the rest of it: 4 bytes for each number that the client answers with, on disk while
 * the client is not at work. An answer that is refused or lost leaves it as it was.
 */
import { addUpdate, subtractWeights } from "../adapter/weights.js";
import type { AdapterHalf } from "../adapter/slice.js";
import type { NamedState } from "./protocol.js";

/** Names that strategies do not use. */
const RESIDUAL = "wire:residual of ";
/** 1 where the strategy keeps a state of the client's own beside it. */
const HAS_OWN = "wire:has own state";

/** What was left out, by which numbers of the adapter it is of: those answered with one half say nothing of the other. */
export type Residuals = Readonly<Record<string, Float32Array>>;

/** The state as the strategy knows it, undefined where it has none, and what feedback keeps. */
export function splitClientState(state: NamedState | undefined): { readonly own?: NamedState; readonly residuals: Residuals } {
  if (state === undefined) return { residuals: {} };
  const { arrays } = state;
  const residuals = Object.entries(arrays).flatMap(([name, values]) => (name.startsWith(RESIDUAL) ? [[name.slice(RESIDUAL.length), values] as const] : []));
  const own = ownState(state);
  return { residuals: Object.fromEntries(residuals), ...(own === undefined ? {} : { own }) };
}

/** As the strategy knows it, without reading what a file holds before somebody asks for it. */
export function ownState(state: NamedState): NamedState | undefined {
  const { [HAS_OWN]: hasOwn, ...numbers } = state.numbers;
  if (hasOwn === 0) return undefined;
  if (hasOwn === undefined) return state;
  return {
    numbers,
    get arrays() {
      return Object.fromEntries(Object.entries(state.arrays).filter(([name]) => !name.startsWith(RESIDUAL)));
    },
  };
}

/** One state of both; undefined when there is nothing to keep. */
export function joinClientState(own: NamedState | undefined, residuals: Residuals): NamedState | undefined {
  const kept = Object.entries(residuals).map(([name, values]) => [RESIDUAL + name, values] as const);
  if (kept.length === 0) return own;
  return {
    arrays: { ...own?.arrays, ...Object.fromEntries(kept) },
    numbers: { ...own?.numbers, [HAS_OWN]: own === undefined ? 0 : 1 },
  };
}

/** u + e; the update itself where nothing was left out of one of its length. */
export function withResidual(update: Float32Array, residuals: Residuals, half: AdapterHalf | "inner"): Float32Array {
  const residual = residuals[half];
  return residual?.length === update.length ? addUpdate(update, residual) : update;
}

/** The residuals after `corrected` was sent as `sent`. */
export function nextResiduals(residuals: Residuals, half: AdapterHalf | "inner", corrected: Float32Array, sent: Float32Array): Residuals {
  return { ...residuals, [half]: subtractWeights(corrected, sent) };
}
