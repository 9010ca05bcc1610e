/**
 * Checks of values before they cross to the addon. Each throws one FedllmError whose message names the field, what was
 * expected and what came. The addon checks again, because ggml's own assertions would end the process.
 */
import { findNonFinite } from "../adapter/weights.js";
import { problemError } from "../errors.js";
import type { TokenizedSample } from "../federated/local-trainer.js";
import type { NativeSamples } from "./binding.js";

/** Most steps of one request; far above any real run. */
const MAX_COUNT = 1e9;

/** Positions of samples are counted in 32 bits at the boundary. */
const MAX_PACKED_TOKENS = 2 ** 32 - 1;

export interface NumberRange {
  readonly min: number;
  readonly max?: number;
  /** The bound itself is not allowed. */
  readonly openMin?: boolean;
  readonly openMax?: boolean;
}

/** Throws CONFIG_INVALID unless `value` is a finite number in the range. */
export function checkNumber(value: number, subject: string, range: NumberRange): void {
  const aboveMin = range.openMin === true ? value > range.min : value >= range.min;
  const belowMax = range.max === undefined || (range.openMax === true ? value < range.max : value <= range.max);
  if (Number.isFinite(value) && aboveMin && belowMax) return;
  const lower = `${range.openMin === true ? "above" : "of at least"} ${range.min}`;
  const upper = range.max === undefined ? "" : ` and ${range.openMax === true ? "below" : "at most"} ${range.max}`;
  throw problemError("CONFIG_INVALID", {
    subject,
    expected: `a finite number ${lower}${upper}`,
    received: String(value),
  });
}

/** Throws CONFIG_INVALID unless `value` is an integer from `min` to `max`. */
export function checkInteger(value: number, subject: string, min: number, max: number = MAX_COUNT): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw problemError("CONFIG_INVALID", {
    subject,
    expected: `an integer from ${min} to ${max}`,
    received: String(value),
  });
}

/** Throws CONFIG_INVALID unless these are ascending layer numbers, at least one; which the model has is checked by the addon. */
export function checkLayers(layers: readonly number[], subject: string): void {
  const isAscending = layers.every((layer, place) => Number.isSafeInteger(layer) && layer >= 0 && layer > (layers[place - 1] ?? -1));
  if (isAscending && layers.length > 0) return;
  throw problemError("CONFIG_INVALID", {
    subject,
    expected: "ascending layer numbers, at least one",
    received: layers.length === 0 ? "none" : layers.join(", "),
  });
}

/** Throws ADAPTER_INVALID unless there are exactly `length` weights and all are finite. */
export function checkWeights(weights: Float32Array, subject: string, length: number): void {
  if (weights.length !== length) {
    throw problemError("ADAPTER_INVALID", {
      subject,
      expected: `${length} numbers`,
      received: String(weights.length),
    });
  }
  const index = findNonFinite(weights);
  if (index === undefined) return;
  throw problemError("ADAPTER_INVALID", {
    subject: `${subject}[${index}]`,
    expected: "a finite number",
    received: String(weights[index]),
  });
}

/**
 * Checks samples (DATASET_INVALID names the first bad one) and concatenates them for the boundary. Each needs a
 * supervised token: without one there is nothing to learn or to score.
 */
export function packSamples(
  samples: readonly TokenizedSample[],
  vocabularySize: number,
  groupOffsets?: Uint32Array,
): NativeSamples {
  if (samples.length === 0) throw datasetError("samples", "at least one sample", "none");
  const total = samples.reduce((sum, sample) => sum + sample.tokens.length, 0);
  if (total > MAX_PACKED_TOKENS) throw datasetError("samples", `at most ${MAX_PACKED_TOKENS} tokens`, String(total));

  const packed = {
    tokens: new Int32Array(total),
    supervised: new Uint8Array(total),
    offsets: new Uint32Array(samples.length + 1),
  };
  const weights = samples.some((sample) => sample.weights !== undefined) ? new Float32Array(total).fill(1) : undefined;
  let offset = 0;
  for (const [index, sample] of samples.entries()) {
    checkSample(sample, `samples[${index}]`, vocabularySize);
    packed.tokens.set(sample.tokens, offset);
    packed.supervised.set(sample.supervised, offset);
    if (sample.weights !== undefined) weights?.set(sample.weights, offset);
    offset += sample.tokens.length;
    packed.offsets[index + 1] = offset;
  }
  if (groupOffsets !== undefined) checkGroups(groupOffsets, samples.length);
  return {
    ...packed,
    ...(weights === undefined ? {} : { weights }),
    ...(groupOffsets === undefined ? {} : { groupOffsets }),
  };
}

function checkGroups(offsets: Uint32Array, numSamples: number): void {
  const rises = offsets.every((offset, index) => index === 0 || offset > (offsets[index - 1] ?? 0));
  if (rises && offsets.length > 1 && offsets[0] === 0 && offsets.at(-1) === numSamples) return;
  throw datasetError("groupOffsets", `offsets that rise from 0 to the number of samples, ${numSamples}`, offsets.join(", "));
}

/** DATASET_INVALID unless the weights are as many as the tokens, those that matter finite, and one of them not 0. */
function checkTokenWeights({ tokens, supervised, weights }: TokenizedSample, subject: string): void {
  if (weights === undefined) return;
  if (weights.length !== tokens.length) throw datasetError(`${subject}.weights`, `${tokens.length} numbers`, String(weights.length));
  const relevant = weights.filter((_, index) => supervised[index] === 1);
  const bad = relevant.find((weight) => !Number.isFinite(weight));
  if (bad !== undefined) throw datasetError(`${subject}.weights`, "finite numbers for supervised tokens", String(bad));
  if (relevant.every((weight) => weight === 0)) throw datasetError(`${subject}.weights`, "a number other than 0 for a supervised token", "none");
}

function checkSample(sample: TokenizedSample, subject: string, vocabularySize: number): void {
  const { tokens, supervised } = sample;
  if (tokens.length === 0) throw datasetError(subject, "at least one token", "none");
  if (supervised.length !== tokens.length) {
    throw datasetError(`${subject}.supervised`, `${tokens.length} flags`, String(supervised.length));
  }
  if (supervised[0] !== 0) {
    throw datasetError(`${subject}.supervised[0]`, "0, because nothing precedes the first token", String(supervised[0]));
  }
  const badToken = tokens.findIndex((token) => token < 0 || token >= vocabularySize);
  if (badToken >= 0) {
    const expected = `a token id from 0 to ${vocabularySize - 1}`;
    throw datasetError(`${subject}.tokens[${badToken}]`, expected, String(tokens[badToken]));
  }
  const badFlag = supervised.findIndex((flag) => flag > 1);
  if (badFlag >= 0) throw datasetError(`${subject}.supervised[${badFlag}]`, "0 or 1", String(supervised[badFlag]));
  if (!supervised.includes(1)) throw datasetError(subject, "at least one supervised token", "none");
  checkTokenWeights(sample, subject);
}

function datasetError(subject: string, expected: string, received: string): Error {
  return problemError("DATASET_INVALID", { subject, expected, received });
}
