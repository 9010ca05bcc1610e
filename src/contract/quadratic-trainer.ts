/**
 * A real LocalTrainer without a model. A sample's tokens are a point p (token / 100 per dimension); its loss is
 * |w - p|^2 / 2, so a client's optimum is the mean of its points and every step can be computed on paper. The optimizer
 * is plain SGD: w <- w - rate * (w - mean of the batch's points), with the proximal term and the gradient offset of
 * the interface; one step at rate 1 on all samples lands on the optimum. Dropout leaves out single dimensions of the
 * gradient, drawn from the request's seed, so a wrong seed shows in the result. The layout is a pair of rank 1 whose B is the
 * last number, so that methods which tell A from B run on it too; the loss knows nothing of the pair.
 * Pairs of answers are quadratic-preference.ts.
 */
import { composeInner, projectToInner } from "../adapter/inner.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { FedllmError } from "../errors.js";
import type {
  EvaluateRequest,
  EvaluateResult,
  LocalTrainer,
  PreferenceMetrics,
  TokenizedSample,
  TrainRequest,
  TrainResult,
} from "../federated/local-trainer.js";
import { preferenceStep } from "./quadratic-preference.js";

const TOKENS_PER_UNIT = 100;

/** A sample whose optimum is this point; coordinates are multiples of 1 / 100. */
export function pointSample(...point: readonly number[]): TokenizedSample {
  const tokens = Int32Array.from(point, (coordinate) => Math.round(coordinate * TOKENS_PER_UNIT));
  return { tokens, supervised: Uint8Array.from(point, (_, index) => (index === 0 ? 0 : 1)) };
}

export class QuadraticTrainer implements LocalTrainer {
  readonly layout: AdapterLayout;
  /** Waits this long before each step; for tests of scheduling and of kills. */
  readonly #delayMs: () => number;

  constructor(numParameters: number, delayMs: () => number = () => 0, layout?: AdapterLayout) {
    this.layout = layout ?? {
      tensors: [
        { name: "blk.0.point.weight.lora_a", shape: [numParameters - 1, 1], offset: 0 },
        { name: "blk.0.point.weight.lora_b", shape: [1, 1], offset: numParameters - 1 },
      ],
      numParameters,
      rank: 1,
      loraAlpha: 1,
    };
    this.#delayMs = delayMs;
  }

  initialWeights(seed: number): Float32Array {
    const random = makeRandom(seed);
    return Float32Array.from({ length: this.layout.numParameters }, () => random() - 0.5);
  }

  async train(request: TrainRequest, signal?: AbortSignal): Promise<TrainResult> {
    const weights = Float32Array.from(request.weights);
    const stepLosses = new Float64Array(request.localSteps);
    const gradientNorms = new Float64Array(request.localSteps);
    const preferenceSteps: PreferenceMetrics[] = [];
    const random = makeRandom(request.seed);
    let numTokens = 0;
    for (let step = 0; step < request.localSteps; step++) {
      await wait(this.#delayMs());
      if (signal?.aborted === true) throw new FedllmError("CANCELLED", "the quadratic trainer was cancelled");
      const batch = batchAt(request, step);
      const { outer } = request;
      const whole = outer === undefined ? weights : composeInner(this.layout, outer, weights);
      const { gradient: slopes, loss, preference } = computeStep(request, whole, batch);
      const gradient = outer === undefined ? slopes : projectToInner(this.layout, outer, slopes);
      if (preference !== undefined) preferenceSteps.push(preference);
      stepLosses[step] = loss;
      gradientNorms[step] = Math.hypot(...gradient);
      numTokens += batch.reduce((sum, sample) => sum + sample.tokens.length, 0);
      for (const [i, slope] of gradient.entries()) {
        if (outer === undefined && !this.#isTrained(i, request.trainable)) continue;
        const { proximal, gradientOffset, clientLearningRate } = request;
        const kept = random() < request.dropout ? 0 : slope;
        const w = weights[i] ?? 0;
        const pull = proximal === undefined ? 0 : proximal.mu * (w - (proximal.anchor[i] ?? 0));
        weights[i] = w - clientLearningRate * (kept + pull + (gradientOffset?.[i] ?? 0));
      }
      request.onProgress?.({ step: step + 1, localSteps: request.localSteps, loss, numTokens });
    }
    return {
      weights,
      numSteps: request.localSteps,
      stepLosses,
      ...(preferenceSteps.length === 0 ? {} : { preferenceSteps }),
      numSupervisedTokens: numTokens,
      numTokens,
      gradientNorms,
      trainDurationMs: 2 * request.localSteps,
    };
  }

  #isTrained(index: number, trainable: TrainRequest["trainable"] = "both"): boolean {
    const tensor = this.layout.tensors.findLast(({ offset }) => offset <= index);
    return trainable === "both" || tensor?.name.endsWith(`.lora_${trainable}`) === true;
  }

  evaluate(request: EvaluateRequest): Promise<EvaluateResult> {
    // The base model alone is the origin.
    const weights = request.weights ?? new Float32Array(this.layout.numParameters);
    const samples = request.samples.map((sample) => ({
      logProbability: -meanLoss(weights, [sample]),
      numSupervisedTokens: 1,
      numCorrectTokens: 0,
    }));
    return Promise.resolve({ samples, evaluateDurationMs: 1 });
  }
}

/** Samples are used in order, again from the first when they run out; of a pair both. */
function batchAt({ samples, batchSize, objective }: TrainRequest, step: number): readonly TokenizedSample[] {
  const count = batchSize * (objective === undefined ? 1 : 2);
  return Array.from({ length: count }, (_, k) => samples[(step * count + k) % samples.length]).filter(
    (sample) => sample !== undefined,
  );
}

function computeStep(
  { objective }: TrainRequest,
  weights: Float32Array,
  batch: readonly TokenizedSample[],
): { gradient: readonly number[]; loss: number; preference?: PreferenceMetrics } {
  if (objective === undefined) return { gradient: meanOffset(weights, batch), loss: meanLoss(weights, batch) };
  const points = batch.map(({ tokens }) => Array.from(tokens, (token) => token / TOKENS_PER_UNIT));
  const pairs = points.flatMap((rejected, index) => (index % 2 === 0 ? [] : [{ chosen: points[index - 1] ?? [], rejected }]));
  const { gradient, loss, metrics } = preferenceStep(weights, pairs, objective);
  return { gradient, loss, preference: metrics };
}

/** w - mean of the points. */
function meanOffset(weights: Float32Array, batch: readonly TokenizedSample[]): number[] {
  return Array.from(weights, (w, i) => {
    const sum = batch.reduce((total, { tokens }) => total + (tokens[i] ?? 0) / TOKENS_PER_UNIT, 0);
    return w - sum / batch.length;
  });
}

function meanLoss(weights: Float32Array, batch: readonly TokenizedSample[]): number {
  const losses = batch.map((sample) => meanOffset(weights, [sample]).reduce((sum, d) => sum + (d * d) / 2, 0));
  return losses.reduce((sum, loss) => sum + loss, 0) / batch.length;
}

/** A small generator (mulberry32) in [0, 1); seeds above 2^32 are folded. */
function makeRandom(seed: number): () => number {
  let state = (seed ^ Math.floor(seed / 2 ** 32)) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function wait(ms: number): Promise<void> {
  return ms > 0 ? new Promise((resolve) => setTimeout(resolve, ms)) : Promise.resolve();
}
