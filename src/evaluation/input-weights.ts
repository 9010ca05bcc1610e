/**
 * How much a client's own adapter counts for an input, and the global one beside it the less: FedDPA's instance-wise weights (Yang
 * et al. 2024). An input's weight a is the mean cosine of its representation and those of some of the client's training inputs, at
 * least 0; the model is W + (1 - a) s B_w A_w + a s B_k A_k. The representation is the base model's last hidden state at the last
 * token before the answer. A GGUF adapter cannot do this: it is a figure of the evaluation, for programs that choose scales by request.
 */
import { gatherSlice, scatterSlice, type AdapterSlice } from "../adapter/slice.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { isPreferencePair, type FrozenAdapter, type TokenizedSample, type TrainingExample } from "../federated/local-trainer.js";
import { assert } from "../util/assert.js";

/** Representations of inputs by their tokens, in order. */
export type Represent = (inputs: readonly TokenizedSample[]) => Promise<readonly Float32Array[]>;

/** The weight of a client's adapter for the held-out example at a position; 0 to 1. */
export type WeightOfInput = (clientId: string, position: number) => Promise<number>;

/** Scales of an evaluation whose adapters were trained with the fixed weight g of the global one, 0 < g < 1. */
export interface InputWeights {
  readonly globalWeight: number;
  readonly weightOf: WeightOfInput;
}

/** Works weights out when they are asked for; what an example or a client looks like is computed once. */
export function makeWeightOfInput(
  represent: Represent,
  heldOut: readonly TrainingExample[],
  trainingInputs: (clientId: string) => Promise<readonly TrainingExample[]> | readonly TrainingExample[],
): WeightOfInput {
  const ofPositions = new Map<number, Promise<readonly Float32Array[]>>();
  const ofClients = new Map<string, Promise<readonly Float32Array[]>>();
  const ofClient = async (clientId: string) => represent((await trainingInputs(clientId)).map(inputOf));
  return async (clientId, position) => {
    const example = heldOut[position];
    assert(example !== undefined, "a held-out position is within the samples");
    const mine = ofPositions.get(position) ?? represent([inputOf(example)]);
    const theirs = ofClients.get(clientId) ?? ofClient(clientId);
    ofPositions.set(position, mine);
    ofClients.set(clientId, theirs);
    const [own] = await mine;
    const others = await theirs;
    if (own === undefined || others.length === 0) return 0;
    const mean = others.reduce((sum, other) => sum + cosine(own, other), 0) / others.length;
    return Math.min(1, Math.max(0, mean));
  };
}

/** The same adapters with the scales of weight a: their own 1 and g become a / (1 - g) and 1 - a. */
export function weighInput(
  layout: AdapterLayout,
  { weights, frozen }: { readonly weights: Float32Array; readonly frozen: readonly FrozenAdapter[] },
  globalWeight: number,
  localWeight: number,
): { readonly weights: Float32Array; readonly frozen: readonly FrozenAdapter[] } {
  const factor = localWeight / (1 - globalWeight);
  const ofGlobal = (1 - localWeight) / globalWeight;
  return {
    weights: scatterSlice(weights, layout, B_HALF, gatherSlice(weights, layout, B_HALF).map((value) => factor * value)),
    frozen: ofGlobal === 0 ? [] : frozen.map((adapter) => ({ ...adapter, loraAlpha: ofGlobal * adapter.loraAlpha })),
  };
}

const B_HALF: AdapterSlice = { half: "b" };

/** The tokens before the answer, with the answer's first one as their label; of a pair those that both answers share. */
export function inputOf(example: TrainingExample): TokenizedSample {
  const { tokens, supervised } = isPreferencePair(example) ? example.chosen : example;
  const end = supervised.indexOf(1);
  assert(end > 0, "an example has an answer after its first token");
  return { tokens: tokens.slice(0, end + 1), supervised: supervised.slice(0, end + 1) };
}

/** 0 where one of the vectors is zero. */
export function cosine(left: Float32Array, right: Float32Array): number {
  let [product, ofLeft, ofRight] = [0, 0, 0];
  for (const [i, value] of left.entries()) {
    const other = right[i] ?? 0;
    product += value * other;
    ofLeft += value * value;
    ofRight += other * other;
  }
  const scale = Math.sqrt(ofLeft * ofRight);
  return scale === 0 ? 0 : product / scale;
}
