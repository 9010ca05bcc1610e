/** What cached hidden states saved in a round, as measures of the round: tokens that did not pass the layers below the adapter. */
import type { RoundMeasure } from "../adapter/aggregation-error.js";
import type { NativeHiddenStateCache } from "../native/binding.js";

/** A model that may have a cache. */
export interface CachingModel {
  hiddenStateCache?(): NativeHiddenStateCache | undefined;
}

/**
 * Each call gives the measures since the call before it (the first since now), summed over the models; none where no cache was used.
 * Training and evaluation count alike.
 */
export function followHiddenStates(models: readonly CachingModel[]): () => readonly RoundMeasure[] {
  let before = sumOf(models);
  return () => {
    const now = sumOf(models);
    const reused = now.reused - before.reused;
    const computed = now.computed - before.computed;
    before = now;
    if (reused + computed === 0) return [];
    return [
      { measure: "hidden_state_tokens_reused", value: reused },
      { measure: "hidden_state_tokens_computed", value: computed },
      { measure: "hidden_state_cache_bytes", value: now.bytes },
    ];
  };
}

function sumOf(models: readonly CachingModel[]): { readonly reused: number; readonly computed: number; readonly bytes: number } {
  const states = models.flatMap((model) => model.hiddenStateCache?.() ?? []);
  return {
    reused: states.reduce((sum, state) => sum + state.numTokensReused, 0),
    computed: states.reduce((sum, state) => sum + state.numTokensComputed, 0),
    bytes: states.reduce((sum, state) => sum + state.bytes, 0),
  };
}
