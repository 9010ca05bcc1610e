/**
 * Embeddings of instructions: the mean over tokens of the base model's hidden states at a boundary between layers. The first position
 * is left out where there are others: models put states there that are far larger than all others and the same for every text.
 */
import { questionOf } from "../data/sample-text.js";
import type { SampleTokenizer } from "../data/tokenized.js";
import { createTokenWriter } from "../data/tokenized.js";
import type { TokenizedSample } from "../federated/local-trainer.js";
import type { Pass } from "./pass.js";

/** Reads the states of all tokens of each sample before its last supervised one; rows of the model's width, samples one after another. */
export type ReadHiddenStates = (
  samples: readonly TokenizedSample[],
  boundary: number,
  signal: AbortSignal | undefined,
) => Promise<{ readonly offsets: Uint32Array; readonly states: Float32Array }>;

export interface EmbeddingSetup {
  readonly modelSha256: string;
  readonly device: string;
  readonly tokenizer: SampleTokenizer;
  readonly readHiddenStates: ReadHiddenStates;
  /** 0 (input of the first layer) to the number of layers (output of the last). */
  readonly boundary: number;
  /** Numbers of a state. */
  readonly width: number;
  /** Longer instructions are judged by their beginning. */
  readonly maxLength: number;
}

/** Raised when what is computed changes. */
const EMBEDDING_RULES = 1;
const BATCH_SIZE = 8;

/** Embeddings of what the user wrote. */
export function embeddingPass(setup: EmbeddingSetup): Pass<Float32Array> {
  const { modelSha256, device, boundary, maxLength, readHiddenStates, width } = setup;
  const toTokens = createInstructionTokens(setup);
  return {
    step: "embeddings",
    analysis: `embedding/${String(EMBEDDING_RULES)}/${modelSha256}/${device}/${String(boundary)}/${String(maxLength)}`,
    batchSize: BATCH_SIZE,
    compute: async (samples, signal) => {
      const { offsets, states } = await readHiddenStates(samples.map(({ sample }) => toTokens(questionOf(sample).question)), boundary, signal);
      return samples.map((_, index) => meanState(states.subarray((offsets[index] ?? 0) * width, (offsets[index + 1] ?? 0) * width), width));
    },
    encode: (found) => toBytes(found),
    decode: (value) => fromBytes(value as Uint8Array),
  };
}

/** Mean of the rows, without the first one where there are others; one row at least. */
export function meanState(states: Float32Array, width: number): Float32Array {
  const numRows = states.length / width;
  const first = numRows > 1 ? 1 : 0;
  const sums = new Float64Array(width);
  for (let row = first; row < numRows; row++) {
    for (let i = 0; i < width; i++) sums[i] = (sums[i] ?? 0) + (states[row * width + i] ?? 0);
  }
  return Float32Array.from(sums, (sum) => sum / (numRows - first));
}

/** Mean of vectors of one length, at least one. */
export function meanVector(vectors: readonly ArrayLike<number>[]): Float64Array {
  const sums = new Float64Array(vectors[0]?.length ?? 0);
  for (const vector of vectors) for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] ?? 0) + (vector[i] ?? 0);
  return sums.map((sum) => sum / vectors.length);
}

/** Tokens of a text with BOS where the model wants it, and one more that is only predicted: states end before it. */
function createInstructionTokens({ tokenizer, maxLength }: EmbeddingSetup): (text: string) => TokenizedSample {
  const write = createTokenWriter(tokenizer);
  return (text) => {
    const own = write([{ text, supervised: false, special: false }]).tokens.slice(0, maxLength);
    const last = own.at(-1) ?? tokenizer.bosToken ?? tokenizer.eosToken ?? 0;
    // A text without tokens is the state of the beginning alone.
    const tokens = Int32Array.from([...(own.length === 0 ? [last] : own), last]);
    const supervised = new Uint8Array(tokens.length);
    supervised[tokens.length - 1] = 1;
    return { tokens, supervised };
  };
}

function toBytes(vector: Float32Array): Uint8Array {
  const bytes = Buffer.alloc(4 * vector.length);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, 4 * index);
  return bytes;
}

function fromBytes(bytes: Uint8Array): Float32Array {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Float32Array.from({ length: bytes.length / 4 }, (_, index) => view.readFloatLE(4 * index));
}
