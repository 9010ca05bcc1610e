/**
 * Speed and memory of the server's arithmetic: the updates of a cohort are checked, measured and taken into the mean one by
 * one, as a round does it, beside a plain copy of the same vectors. Only the arithmetic is timed, not the making of updates. Bytes
 * moved are those that must be read and written: a copy reads and writes the update, a check reads it, and the mean reads four
 * updates and reads and writes the sum of twice their width for them. What a round does once is a row of its own: the first pass,
 * which gets the sum's memory from the system page by page, the division of the sum, and the new adapter.
 *   node --import tsx experiments/bench/server-arithmetic.ts [millions of parameters = 40] [clients = 100] [native | typescript] [clock | processor]
 * The last one is what is counted: on a busy machine this process's own time on the processor says more than the clock.
 */
import { findNonFinite, weightsNorm } from "../../src/adapter/weights.js";
import type { ClientUpdate } from "../../src/federated/protocol.js";
import { createStrategy } from "../../src/federated/strategies/registry.js";
import { loadNative } from "../../src/native/load.js";

const [millions = 40, numClients = 100] = process.argv.slice(2, 4).map(Number);
const [variant = "native", counted = "clock"] = process.argv.slice(4);
if (variant === "native") loadNative();
const numParameters = Math.round(millions * 1e6);
const updateBytes = numParameters * Float32Array.BYTES_PER_ELEMENT;

/** Milliseconds by what was done. */
const spent = { copy: 0, check: 0, norm: 0, mean: 0, round: 0 };
/** Updates that are added in one pass. */
const PER_PASS = 4;
/** In updates, of all clients. */
const moved = { copy: 2 * numClients, check: numClients, norm: numClients, mean: 2 * (numClients - PER_PASS), round: 2 * PER_PASS + 4 + 4 };

function nowMs(): number {
  const { user, system } = process.cpuUsage();
  return counted === "processor" ? (user + system) / 1000 : performance.now();
}

function timed<T>(what: keyof typeof spent, work: () => T): T {
  const startMs = nowMs();
  const result = work();
  spent[what] += nowMs() - startMs;
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
  timed(index < PER_PASS ? "round" : "mean", () => {
    aggregation.add(makeUpdate(index, vector));
  });
}
timed("round", () => aggregation.finish());
const grown = process.memoryUsage.rss() - memoryBefore;

console.log(`${variant}: ${String(numClients)} clients, ${String(millions)} million parameters, ${(updateBytes / 1e6).toFixed(0)} MB each`);
const rateOf = (what: keyof typeof spent): number => (moved[what] * updateBytes) / spent[what] / 1e6;
for (const what of Object.keys(spent) as (keyof typeof spent)[]) {
  const seconds = (spent[what] / 1000).toFixed(2).padStart(7);
  console.log(`${what.padEnd(6)} ${seconds} s  ${rateOf(what).toFixed(2).padStart(6)} GB/s moved  ${(rateOf(what) / rateOf("copy")).toFixed(2)} of the copy's`);
}
console.log(`memory beside the updates themselves: ${(grown / updateBytes).toFixed(1)} adapters`);
