/**
 * What tests over the real addon share: a temporary folder, a tiny random model, samples for it, and usual options.
 * Nothing is replaced by a stand-in. The addon must have been built (`npm ci` or `npm run build:native`).
 */
import { mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { TokenizedSample, TrainRequest } from "../../src/federated/local-trainer.js";
import type { NativeAdapterOptions } from "../../src/native/binding.js";
import { TINY_BOS, writeTinyGguf } from "../fixtures/tiny-gguf.js";
import type { TinyModelOptions } from "../fixtures/tiny-gguf.js";

/** The default target modules with a rank that keeps tests fast. */
export const TEST_ADAPTER: NativeAdapterOptions = { rank: 4, loraAlpha: 8, targetModules: ["attn_q", "attn_v"] };

/** A folder that is removed after the tests of the calling file. */
export function makeTestFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "fedllm-addon-")));
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** Writes a tiny model into the folder and returns its path. */
export function makeTinyModelFile(folder: string, name = "tiny.gguf", options: TinyModelOptions = {}): string {
  const path = join(folder, name);
  writeTinyGguf(path, options);
  return path;
}

/** BOS and then `length - 1` printable-character tokens, different for each `variant`; all but the first half is learned. */
export function makeSample(length: number, variant = 0): TokenizedSample {
  const firstCharacterToken = 274;
  const tokens = Int32Array.from({ length }, (_, index) =>
    index === 0 ? TINY_BOS : firstCharacterToken + ((index * 7 + variant * 31) % 90),
  );
  const supervised = Uint8Array.from({ length }, (_, index) => (index > 0 && index >= length / 2 ? 1 : 0));
  return { tokens, supervised };
}

/** A complete, valid request; tests change what they are about. */
export function makeTrainRequest(weights: Float32Array, changes: Partial<TrainRequest> = {}): TrainRequest {
  return {
    weights,
    samples: [makeSample(12, 0), makeSample(20, 1), makeSample(9, 2)],
    localSteps: 3,
    batchSize: 2,
    microBatchTokens: 64,
    clientLearningRate: 1e-2,
    optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
    dropout: 0,
    seed: 0,
    ...changes,
  };
}
