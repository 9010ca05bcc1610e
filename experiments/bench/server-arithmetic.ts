/**
 * Speed and memory of the server's arithmetic: the updates of a cohort are checked, measured and taken into the mean one by
 * one, as a round does it, beside a plain copy of the same vectors. Only the arithmetic is timed, not the making of updates.
 *   node --import tsx experiments/bench/server-arithmetic.ts [millions of parameters = 40] [clients = 100]
 */
import { findNonFinite, weightsNorm } from "../../src/adapter/weights.js";
import type { ClientUpdate } from "../../src/federated/protocol.js";
import { createStrategy } from "../../src/federated/strategies/registry.js";

const [millions = 40, numClients = 100] = process.argv.slice(2).map(Number);
const numParameters = Math.round(millions * 1e6);
const updateBytes = numParameters * Float32Array.BYTES_PER_ELEMENT;

/** Milliseconds by what was done. */
const spent = { copy: 0, check: 0, norm: 0, mean: 0 };

function timed<T>(what: keyof typeof spent, work: () => T): T {
  const startMs = performance.now();
  const result = work();
  spent[what] += performance.now() - startMs;
  return result;
}

function makeUpdate(index: number, update: Float32Array): ClientUpdate {
  const counts = { numSamples: 1, numSteps: 1, numTokens: 1, numSupervisedTokens: 1 };
  const losses = { trainLoss: 0, firstTrainLoss: 0, lastTrainLoss: 0, trainDurationMs: 1 };
  const clientId = String(index).padStart(6, "0");
  return { clientId, numExamples: 1 + (index % 7), round: 1, update, layoutFingerprint: "", ...counts, ...losses };
}

const strategy = createStrategy("fedavg");
const plan = { numRounds: 1, clientsPerRound: numClients, localSteps: 1, batchSize: 1, initialLearningRate: 1, finalLearningRate: 1 };
const layout = { tensors: [], numParameters, rank: 1, loraAlpha: 1 };
const state = strategy.init(new Float32Array(numParameters));
const aggregation = strategy.aggregate.start?.(state, { round: 1, plan, numClients, layout });
if (aggregation === undefined) throw new Error("the strategy takes updates one by one");

// Eight vectors in turn stand for those that arrive; a real client's is new each time and gone after it was added.
const vectors = Array.from({ length: 8 }, (_, k) => new Float32Array(numParameters).fill((k + 1) / 1000));
const copy = new Float32Array(numParameters).fill(0);
const memoryBefore = process.memoryUsage.rss();
for (let index = 0; index < numClients; index++) {
  const vector = vectors[index % vectors.length] ?? copy;
  timed("copy", () => {
    copy.set(vector);
  });
  if (timed("check", () => findNonFinite(vector)) !== undefined) throw new Error("the updates are finite");
  timed("norm", () => weightsNorm(vector));
  timed("mean", () => {
    aggregation.add(makeUpdate(index, vector));
  });
}
timed("mean", () => aggregation.finish());
const grown = process.memoryUsage.rss() - memoryBefore;

console.log(`${String(numClients)} clients, ${String(millions)} million parameters, ${(updateBytes / 1e6).toFixed(0)} MB each`);
for (const [what, durationMs] of Object.entries(spent)) {
  const rate = (updateBytes * numClients) / durationMs / 1e6;
  const share = spent.copy / durationMs;
  console.log(`${what.padEnd(6)} ${(durationMs / 1000).toFixed(2).padStart(7)} s  ${rate.toFixed(2).padStart(6)} GB/s of updates  ${share.toFixed(2)} of the copy's`);
}
console.log(`memory beside the updates themselves: ${(grown / updateBytes).toFixed(1)} adapters`);
