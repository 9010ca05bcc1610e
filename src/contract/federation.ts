/** A small federation on the quadratic trainer, with sinks that keep everything in memory. */
import type { FederationDeps, FederationOptions } from "../federated/options.js";
import type { FederatedClient } from "../federated/protocol.js";
import type { Evaluate, MetricsSink, RoundRecord, Snapshot } from "../federated/records.js";
import type { FederationStart } from "../federated/server.js";
import { createStrategy, DEFAULT_STRATEGY } from "../federated/strategies/registry.js";
import type { Strategy, TrainingPlan } from "../federated/strategy.js";
import type { TokenizedSample } from "../federated/local-trainer.js";
import { PythonRandom } from "../data/python-random.js";
import { QuadraticServer } from "./quadratic-server.js";
import { pointSample, QuadraticTrainer } from "./quadratic-trainer.js";

export const sampleIndices = (seed: number, population: number, count: number): number[] =>
  new PythonRandom(seed).sample(population, count);

export function makeClient(id: string, samples: readonly TokenizedSample[]): FederatedClient {
  return {
    id,
    numSamples: samples.length,
    readSamples: (indices) => indices.map((index) => samples[index]).filter((sample) => sample !== undefined),
  };
}

/** Clients with 1 to 5 samples around different points, so that weights, sizes and optima all differ. */
export function makeClients(count: number): readonly FederatedClient[] {
  return Array.from({ length: count }, (_, k) => {
    const samples = Array.from({ length: 1 + (k % 5) }, (_, s) => pointSample(k + s / 4, -k, (k * k) / 8 - s));
    return makeClient(`client-${String(k)}`, samples);
  });
}

export const NUM_PARAMETERS = 3;

/** Where the federations of the contract start; new numbers each time, which nobody else can have changed. */
export function initialWeights(): Float32Array {
  return Float32Array.of(0.5, 0.25, -1);
}

/** A run from there. */
export function freshStart(): FederationStart {
  return { kind: "weights", weights: initialWeights() };
}

export function makeOptions(
  plan: Partial<TrainingPlan> = {},
  rest: Partial<FederationOptions> = {},
): FederationOptions {
  return {
    plan: {
      numRounds: 4,
      clientsPerRound: 3,
      localSteps: 3,
      batchSize: 2,
      initialLearningRate: 0.2,
      finalLearningRate: 0.05,
      ...plan,
    },
    seed: 7,
    microBatchTokens: 64,
    optimizer: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0 },
    dropout: 0.25,
    minClients: 1,
    maxConcurrentClients: 2,
    evaluateEvery: 2,
    evaluateBeforeTraining: false,
    measureAggregation: true,
    checkpointEvery: 1,
    ...rest,
  };
}

/** Keeps records as the metrics store would. */
export class MemoryMetrics implements MetricsSink {
  records: RoundRecord[] = [];

  recordRound(record: RoundRecord): void {
    this.records.push(record);
  }

  removeAfterRound(round: number | undefined): void {
    this.records = this.records.filter((record) => round !== undefined && record.round <= round);
  }
}

/** Norm of each adapter, so that rows depend on every weight. */
export const evaluateNorms: Evaluate = ({ adapters }) => {
  const metric = "norm";
  if (adapters.kind === "global") return Promise.resolve([{ metric, value: Math.hypot(...adapters.weights) }]);
  const rows = [...adapters.weights].map(([name, weights]) => {
    const value = Math.hypot(...weights);
    return adapters.kind === "perGroup" ? { metric, value, group: name } : { metric, value, clientId: name };
  });
  return Promise.resolve(rows);
};

export interface TestDeps extends FederationDeps {
  readonly metrics: MemoryMetrics;
  readonly snapshots: Snapshot[];
}

/** Everything a run needs, with a clock that stands still; the strategy as an object or by its registered name. */
export function makeDeps(strategy: Strategy | string = DEFAULT_STRATEGY, overrides: Partial<FederationDeps> = {}): TestDeps {
  const snapshots: Snapshot[] = [];
  return {
    trainer: new QuadraticTrainer(NUM_PARAMETERS),
    server: new QuadraticServer(),
    strategy: typeof strategy === "string" ? createStrategy(strategy) : strategy,
    clients: makeClients(6),
    sampleIndices,
    clock: { monotonicMs: () => 0, now: () => new Date(0) },
    evaluate: evaluateNorms,
    checkpoints: {
      save: (snapshot) => {
        snapshots.push(snapshot);
        return Promise.resolve();
      },
    },
    ...overrides,
    metrics: new MemoryMetrics(),
    snapshots,
  };
}
