/** Folders of runs with measurements that are given, written by the program's own store, for tests of what is read from them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { MetricsStore } from "../../src/metrics/store.js";
import type { ClientRoundRow, EnergyColumns, EvaluationRow } from "../../src/metrics/rows.js";

export interface GivenArm {
  readonly name: string;
  readonly precision?: string;
  readonly strategy?: string;
  readonly rank?: number;
  readonly weightBytes?: number;
  /** Held-out loss after rounds 0, 1, 2 and so on. */
  readonly losses: readonly number[];
  /** The same for each client, by id. */
  readonly clientLosses?: Readonly<Record<string, readonly number[]>>;
  readonly energy?: readonly (EnergyColumns | undefined)[];
  readonly isFinished?: boolean;
  /** Held-out loss of the last adapter by the precision of the base model. */
  readonly transfer?: Readonly<Record<string, number>>;
  /** Predicted value, and its range, by quantity. */
  readonly predicted?: Readonly<Record<string, readonly [value: number, low: number, high: number]>>;
}

export interface GivenRun {
  readonly seed: number;
  readonly arms: readonly GivenArm[];
  readonly name?: string;
  readonly startedAt?: string;
  readonly dataHash?: string;
}

/** Bytes that each round sends up; the same down. A round takes 1000 ms, of which 400 are evaluation. */
export const ROUND_BYTES = 500;

export function writeRun(folder: string, { seed, arms, name = "given", startedAt = "2026-01-02T03:04:05.000Z", dataHash = "d".repeat(64) }: GivenRun): string {
  mkdirSync(folder, { recursive: true });
  const described = arms.map((arm) => ({
    name: arm.name,
    precision: arm.precision ?? "F16",
    strategy: arm.strategy ?? "fedavg",
    lora: { rank: arm.rank ?? 8 },
    training: { numRounds: arm.losses.length - 1 },
  }));
  const config = { name, seed, model: "m.gguf", data: { train: "/somewhere/data.json" }, evaluation: {}, training: { objective: "sft" }, arms: described };
  // JSON is YAML.
  writeFileSync(join(folder, "config.resolved.yaml"), JSON.stringify(config, null, 2));
  const hashes = { model: "a".repeat(64), "data.train": dataHash };
  writeFileSync(join(folder, "run.json"), JSON.stringify(makeRecord({ name, seed, startedAt, hashes })));
  const store = new MetricsStore(join(folder, "metrics.sqlite"));
  store.saveRun({ id: "run", createdAt: startedAt, seed, config, versions: {} });
  for (const [armIndex, arm] of arms.entries()) writeArm(store, arm, armIndex);
  store.savePredictions(arms.flatMap(({ name: arm, predicted = {} }) => Object.entries(predicted).map(([quantity, [value, low, high]]) => ({ arm, quantity, value, low, high }))));
  store.close();
  return folder;
}

function writeArm(store: MetricsStore, arm: GivenArm, armIndex: number): void {
  store.saveArm("run", { name: arm.name, armIndex, strategy: arm.strategy ?? "fedavg", modelName: "m", modelSha256: "a".repeat(64), modelWeightBytes: arm.weightBytes ?? 1000 });
  const clients = Object.entries(arm.clientLosses ?? {});
  for (const [round, loss] of arm.losses.entries()) {
    const evaluations: EvaluationRow[] = [{ metric: "heldout_loss", value: loss }, ...clients.map(([clientId, losses]) => ({ clientId, metric: "heldout_loss", value: losses[round] ?? loss }))];
    const energy = arm.energy?.[round];
    const bytes = round === 0 ? 0 : ROUND_BYTES;
    const trained: ClientRoundRow[] = round === 0 ? [] : clients.map(([clientId]) => ({ clientId, numExamples: 3, numTokens: 100, trainLoss: loss, learningRate: 0.1, trainDurationMs: 200, uploadBytes: bytes, downloadBytes: bytes, peakMemoryBytes: 5000 + round }));
    store.recordRound(arm.name, {
      round,
      startedAt: "2026-01-02T03:04:05.000Z",
      durationMs: 1000,
      evaluationDurationMs: 400,
      cohortSize: trained.length,
      numSucceeded: trained.length,
      numFailed: 0,
      numRejected: 0,
      uploadBytes: bytes,
      downloadBytes: bytes,
      clients: trained,
      evaluations,
      measures: [],
      events: [],
      ...(energy === undefined ? {} : { energy }),
    });
  }
  for (const [precision, value] of Object.entries(arm.transfer ?? {})) store.recordTransfer(arm.name, precision, arm.losses.length - 1, { heldout_loss: value });
  if (arm.isFinished !== false) store.recordEvent({ kind: "armFinished", arm: arm.name, createdAt: "2026-01-02T03:05:05.000Z", message: "1 adapters saved" });
}

function makeRecord(facts: { readonly name: string; readonly seed: number; readonly startedAt: string; readonly hashes: Readonly<Record<string, string>> }) {
  return {
    recordVersion: 1,
    id: "run",
    ...facts,
    configFingerprint: "f",
    versions: { fedllmNative: "0.1.0", node: "v20", nodeLlamaCpp: "3", llamaCpp: "v0.4.0", addon: "/addon.node" },
    machine: { platform: "linux", osRelease: "6", architecture: "x64", cpu: "a processor", numCores: 2, memoryBytes: 8e9, device: "CPU", numThreads: 1, peakMemoryScope: "arm" },
  };
}
