/**
 * Goal: federated preference training with every strategy. Method: the quadratic trainer, on which an answer is a point, the
 * reward of a pair is linear in the weights, and a step can be computed on paper.
 */
import { describe, expect, test } from "vitest";
import { freshStart, makeDeps, makeOptions, NUM_PARAMETERS, sampleIndices } from "../../../src/contract/federation.js";
import { preferenceStep } from "../../../src/contract/quadratic-preference.js";
import { pointSample } from "../../../src/contract/quadratic-trainer.js";
import type { PreferenceTraining } from "../../../src/federated/client.js";
import type { PreferencePair } from "../../../src/federated/local-trainer.js";
import type { FederatedClient } from "../../../src/federated/protocol.js";
import { runServer } from "../../../src/federated/server.js";
import { createStrategy, STRATEGY_NAMES } from "../../../src/federated/strategies/registry.js";
import { RecordingTrainer } from "../../helpers/recording-trainer.js";

const DPO: PreferenceTraining = { kind: "dpo", beta: 0.5, labelSmoothing: 0, reference: "base" };

const makePair = (...chosen: readonly number[]): PreferencePair => ({
  chosen: pointSample(...chosen),
  rejected: pointSample(...chosen.map((coordinate) => -coordinate)),
});

function makePairClient(id: string, pairs: readonly PreferencePair[]): FederatedClient {
  return { id, numSamples: pairs.length, readSamples: (indices) => indices.flatMap((index) => pairs[index] ?? []) };
}

/** Clients of different sizes that mostly prefer the same direction. */
const clients = Array.from({ length: 6 }, (_, k) =>
  makePairClient(`client-${String(k)}`, Array.from({ length: 1 + (k % 4) }, (_, s) => makePair(1, 0.5 - k / 20, s / 10))),
);

describe.each(STRATEGY_NAMES)("%s", (name) => {
  const options = () => makeOptions({ initialLearningRate: 1, finalLearningRate: 0.5 }, { dropout: 0, preference: DPO });

  test("raises the reward margin, and records it for every client and round", async () => {
    const deps = makeDeps(createStrategy(name), { clients });
    const { adapters } = await runServer(options(), deps, { kind: "weights", weights: new Float32Array(NUM_PARAMETERS) });
    const { records } = deps.metrics;
    for (const { clients: rows, preference } of records) {
      expect(rows.every((row) => row.preference !== undefined)).toBe(true);
      expect(preference?.rewardMargin).toBeCloseTo(rows.reduce((sum, row) => sum + (row.preference?.rewardMargin ?? 0), 0) / rows.length, 12);
    }
    // What is frozen beside the pair holds what was learned, and a quadratic loss knows nothing of it.
    if (adapters.frozen !== undefined) return;
    // At the start, which is the reference, all margins are 0.
    const pair = { chosen: [1, 0.4, 0.1], rejected: [-1, -0.4, -0.1] };
    for (const weights of adapters.kind === "global" ? [adapters.weights] : adapters.weights.values())
      expect(preferenceStep(weights, [pair], { kind: "dpo", beta: 0.5, labelSmoothing: 0 }).metrics.rewardMargin).toBeGreaterThan(0);
  });

  test("goes on from any round to the same end", async () => {
    const whole = makeDeps(createStrategy(name), { clients });
    const expected = await runServer(options(), whole, freshStart());
    for (const snapshot of whole.snapshots.slice(0, -1)) {
      const rest = makeDeps(createStrategy(name), { clients });
      const result = await runServer(options(), rest, { kind: "snapshot", snapshot });
      expect(result.adapters).toEqual(expected.adapters);
      expect(rest.metrics.records).toEqual(whole.metrics.records.slice(snapshot.round));
    }
  });
});

async function runOne(reference: PreferenceTraining["reference"], weights = new Float32Array(1)) {
  const trainer = new RecordingTrainer(1);
  const deps = makeDeps("fedavg", { trainer, clients: [makePairClient("only", [makePair(2)])] });
  const plan = { numRounds: 2, localSteps: 2, batchSize: 1, initialLearningRate: 0.25, finalLearningRate: 0.25 };
  const result = await runServer(makeOptions(plan, { dropout: 0, preference: { ...DPO, reference } }), deps, { kind: "weights", weights });
  return { trainer, deps, result };
}

describe("one client with one pair, chosen 2 and rejected -2", () => {
  test("takes the steps of the DPO gradient", async () => {
    const { result, deps } = await runOne("base");
    // The margin is beta w (2 - (-2)) = 2 w, and the step 0.25 * beta * sigmoid(-margin) * 4.
    let w = 0;
    const meanMargins: number[] = [];
    for (let round = 0; round < 2; round++) {
      const next = w + 0.5 / (1 + Math.exp(2 * w));
      meanMargins.push((2 * w + 2 * next) / 2);
      w = next + 0.5 / (1 + Math.exp(2 * next));
    }
    const [adapter] = result.adapters.kind === "global" ? [result.adapters.weights] : [];
    // Weights are rounded to single precision after each step.
    expect(adapter?.[0]).toBeCloseTo(w, 6);
    const [first, second] = deps.metrics.records;
    expect(first?.preference?.rewardMargin).toBeCloseTo(meanMargins[0] ?? Number.NaN, 6);
    expect(second?.preference?.rewardMargin).toBeCloseTo(meanMargins[1] ?? Number.NaN, 6);
    // The first step sees equal rewards, the others the right order.
    expect([first?.preference?.rewardAccuracy, second?.preference?.rewardAccuracy]).toEqual([0.75, 1]);
  });

  test("compares with the base, with the adapter of the round's start, or with a fixed one", async () => {
    const start = Float32Array.of(1);
    const references = async (reference: PreferenceTraining["reference"]) =>
      (await runOne(reference, start)).trainer.requests.map(({ objective }) => objective?.referenceWeights);
    expect(await references("base")).toEqual([undefined, undefined]);
    expect(await references({ weights: start })).toEqual([start, start]);
    const { trainer, deps } = await runOne("round", start);
    expect(trainer.requests.map(({ objective }) => objective?.referenceWeights)).toEqual(trainer.requests.map(({ weights }) => weights));
    // Each round begins at its own reference, so the margin of its first step is 0 again.
    const [first, second] = deps.metrics.records;
    expect(second?.preference?.rewardMargin).toBeCloseTo(first?.preference?.rewardMargin ?? Number.NaN, 6);
  });
});

test("sub-samples are drawn in pairs, the chosen answer before the rejected one", async () => {
  const trainer = new RecordingTrainer(1);
  const pairs = Array.from({ length: 5 }, (_, k) => makePair(k + 1));
  const deps = makeDeps("fedavg", { trainer, clients: [makePairClient("only", pairs)] });
  await runServer(makeOptions({ numRounds: 1, localSteps: 1, batchSize: 3 }, { preference: DPO }), deps, { kind: "weights", weights: new Float32Array(1) });
  const drawn = sampleIndices(0, 5, 3);
  const tokens = trainer.requests[0]?.samples.map((sample) => sample.tokens[0]);
  expect(tokens).toEqual(drawn.flatMap((k) => [100 * (k + 1), -100 * (k + 1)]));
});
