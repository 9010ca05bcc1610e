/**
 * One arm of a run: strategy and trainer put together, rounds run by the federation, its events passed on, held-out
 * evaluation, and the adapters saved at the end. An arm that was finished before is left as it is.
 */
import { mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import { createHash } from "node:crypto";
import { fingerprintLayout } from "../adapter/layout.js";
import { createArmStrategy } from "../config/arm-strategies.js";
import { shapingDataFields } from "../config/load.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import { strategyLabel } from "../config/strategy-file.js";
import { PythonRandom } from "../data/python-random.js";
import { evaluateGlobal, evaluatePersonal } from "../evaluation/held-out.js";
import type { HeldOutRow } from "../evaluation/held-out.js";
import { CheckpointFolder } from "../federated/checkpoint.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import type { FederationOptions } from "../federated/options.js";
import type { AdapterSet } from "../federated/protocol.js";
import type { Evaluate, EvaluationContext, EvaluationRecord, FederationEvent } from "../federated/records.js";
import { runServer } from "../federated/server.js";
import type { FederationStart } from "../federated/server.js";
import type { Strategy } from "../federated/strategy.js";
import { events } from "../metrics/queries.js";
import type { MetricsStore } from "../metrics/store.js";
import { deriveSeed } from "../util/random.js";
import type { OpenBaseModel } from "./engine.js";
import type { RunListener } from "./events.js";
import type { PeakMemory } from "./peak-memory.js";
import { clientFileNames } from "./run-folder.js";
import type { RunPaths } from "./run-folder.js";
import type { TrainingData } from "./training-data.js";

/** Kind of the event that marks an arm whose adapters are saved. */
export const ARM_FINISHED = "armFinished";

/** What all arms of a run share. */
export interface ArmSetup {
  readonly config: ExperimentConfig;
  readonly paths: RunPaths;
  readonly data: TrainingData;
  readonly store: MetricsStore;
  readonly peakMemory: PeakMemory;
  /** Results of the base model alone, by what they depend on; filled as arms need them. */
  readonly baseResults: Map<string, readonly HeldOutRow[]>;
  readonly emit: RunListener;
  readonly signal?: AbortSignal;
}

/** The base model of one arm. */
export interface ArmModel {
  readonly base: OpenBaseModel;
  readonly sha256: string;
}

/** True when an earlier process finished this arm. */
export function isArmFinished(store: MetricsStore, arm: string): boolean {
  return events(store.database).some((event) => event.kind === ARM_FINISHED && event.arm === arm);
}

/** Trains an arm from its start or its last checkpoint to its end and saves its adapters. */
export async function runArm(setup: ArmSetup, arm: ArmConfig, model: ArmModel): Promise<void> {
  const { config, paths, data, store, emit } = setup;
  const trainer = model.base.trainer(arm.lora);
  const strategy = await createArmStrategy(arm);
  const checkpointFolder = paths.checkpoints(arm.name);
  await mkdir(checkpointFolder, { recursive: true });
  const checkpoints = new CheckpointFolder(checkpointFolder, {
    configFingerprint: fingerprintArm(setup, arm, model),
    layoutFingerprint: fingerprintLayout(trainer.layout),
  });
  const start = await findStart(checkpoints, trainer, config.seed, emit);
  setup.peakMemory.reset();
  emit({ event: "arm_started", arm: arm.name, round: start.kind === "snapshot" ? start.snapshot.round : 0 });
  const result = await runServer(
    federationOptions(config, arm, data, strategy),
    {
      trainer,
      strategy,
      clients: data.clients,
      sampleIndices: (seed, population, count) => new PythonRandom(seed).sample(population, count),
      clock: { monotonicMs: () => performance.now(), now: () => new Date() },
      metrics: {
        recordRound: (record) => {
          store.recordRound(arm.name, record);
        },
        removeAfterRound: (round) => {
          store.deleteAfterRound(arm.name, round);
        },
      },
      checkpoints,
      peakMemoryBytes: () => setup.peakMemory.read(),
      onEvent: (event) => {
        passOn(event, arm.name, emit);
      },
      ...(data.heldOut.samples.length === 0 ? {} : { evaluate: makeEvaluate(setup, arm, trainer) }),
      ...(setup.signal === undefined ? {} : { signal: setup.signal }),
    },
    start,
  );
  const numAdapters = await saveAdapters(setup, arm, model.base, result.adapters);
  store.recordEvent({
    kind: ARM_FINISHED,
    arm: arm.name,
    round: result.round,
    createdAt: new Date().toISOString(),
    message: `${String(numAdapters)} adapters saved`,
  });
  emit({ event: "arm_finished", arm: arm.name, adapters: numAdapters });
}

/** The checkpoint if there is one, otherwise the seeded initial adapter; arms of equal shape start alike. */
async function findStart(
  checkpoints: CheckpointFolder,
  trainer: LocalTrainer,
  seed: number,
  emit: RunListener,
): Promise<FederationStart> {
  const loaded = await checkpoints.load();
  for (const message of loaded?.warnings ?? []) emit({ event: "warning", message });
  if (loaded !== undefined) return { kind: "snapshot", snapshot: loaded.snapshot };
  return { kind: "weights", weights: trainer.initialWeights(deriveSeed(seed, "initial-adapter")) };
}

/** Of everything the rounds of an arm depend on beside the adapter's layout. */
function fingerprintArm(setup: ArmSetup, arm: ArmConfig, model: ArmModel): string {
  const { config, data } = setup;
  const { seed, evaluation, numThreads, device } = config;
  const text = JSON.stringify({
    arm: { ...arm, strategy: strategyLabel(arm.strategy) },
    seed,
    evaluation,
    numThreads,
    device,
    data: shapingDataFields(config),
    hashes: data.hashes,
    model: model.sha256,
  });
  return createHash("sha256").update(text).digest("hex");
}

function federationOptions(config: ExperimentConfig, arm: ArmConfig, data: TrainingData, strategy: Strategy): FederationOptions {
  const { training, lora } = arm;
  const { maxGradientNorm, ...optimizer } = training.optimizer;
  return {
    seed: config.seed,
    microBatchTokens: training.microBatchTokens,
    optimizer: { ...optimizer, ...(maxGradientNorm === null ? {} : { maxGradientNorm }) },
    dropout: lora.dropout,
    plan: {
      numRounds: training.numRounds,
      clientsPerRound: training.clientsPerRound,
      localSteps: training.localSteps,
      batchSize: training.batchSize,
      initialLearningRate: training.initialLearningRate,
      finalLearningRate: training.finalLearningRate,
      ...(training.pooledSteps === undefined ? {} : { pooledSteps: training.pooledSteps }),
      ...(training.fixedClients === undefined ? {} : { fixedClients: training.fixedClients }),
    },
    // Pooled data is one participant by nature.
    minClients: strategy.participants === "pooled" ? 1 : training.minClients,
    // The trainer uses all threads for one client; several at once would only need more memory.
    maxConcurrentClients: 1,
    evaluateEvery: config.evaluation.every ?? training.numRounds,
    evaluateBeforeTraining: data.heldOut.samples.length > 0,
    measureAggregation: config.evaluation.aggregationError,
    checkpointEvery: config.checkpoint.every,
  };
}

function makeEvaluate(setup: ArmSetup, arm: ArmConfig, trainer: LocalTrainer): Evaluate {
  return async (context) => {
    const rows = context.round === 0 ? await baseRows(setup, arm, trainer, context) : await evaluateAdapters(setup, arm, trainer, context);
    return rows.flatMap(toRecords);
  };
}

/** B starts at zero, so the initial adapter gives the base model's own results; they are computed once per model. */
async function baseRows(
  setup: ArmSetup,
  arm: ArmConfig,
  trainer: LocalTrainer,
  context: EvaluationContext,
): Promise<readonly HeldOutRow[]> {
  const key = JSON.stringify([arm.precision, arm.lora, arm.training.microBatchTokens]);
  const known = setup.baseResults.get(key);
  if (known !== undefined) return known;
  const rows = await evaluateAdapters(setup, arm, trainer, context);
  setup.baseResults.set(key, rows);
  return rows;
}

async function evaluateAdapters(
  setup: ArmSetup,
  arm: ArmConfig,
  trainer: LocalTrainer,
  { round, adapters, signal }: EvaluationContext,
): Promise<readonly HeldOutRow[]> {
  const total = adapters.kind === "global" ? 1 : adapters.weights.size;
  setup.emit({ event: "evaluating", arm: arm.name, round, done: 0, total });
  const context = {
    trainer,
    heldOut: setup.data.heldOut,
    microBatchTokens: arm.training.microBatchTokens,
    onProgress: (done: number) => {
      setup.emit({ event: "evaluating", arm: arm.name, round, done, total });
    },
    ...(signal === undefined ? {} : { signal }),
  };
  return adapters.kind === "global"
    ? evaluateGlobal(context, adapters.weights)
    : evaluatePersonal(context, adapters.weights, setup.config.evaluation.localSampleStride);
}

function toRecords(row: HeldOutRow): EvaluationRecord[] {
  return Object.entries(row.metrics).map(([metric, value]: [string, number]) => ({
    ...(row.clientId === undefined ? {} : { clientId: row.clientId }),
    metric,
    value,
  }));
}

/** Federation events in the words of the run's listeners. */
function passOn(event: FederationEvent, arm: string, emit: RunListener): void {
  const { round } = event;
  switch (event.type) {
    case "roundStarted":
      emit({ event: "round_started", arm, round, clientIds: event.clientIds });
      return;
    case "clientStarted":
      emit({ event: "client_started", arm, round, clientId: event.clientId });
      return;
    case "clientProgress": {
      const { clientId, step, localSteps, loss, numTokens } = event;
      emit({ event: "client_step", arm, round, clientId, step, localSteps, loss, numTokens });
      return;
    }
    case "clientFinished": {
      const { clientId, numTokens, trainLoss, trainDurationMs } = event.client;
      if (numTokens === undefined || trainLoss === undefined || trainDurationMs === undefined) return;
      emit({ event: "client_finished", arm, round, clientId, numTokens, trainLoss, durationMs: trainDurationMs });
      return;
    }
    case "clientFailed": {
      const { clientId, failureCode, failureMessage } = event.client;
      emit({ event: "client_failed", arm, round, clientId, code: failureCode ?? "TRAIN_FAILED", message: failureMessage ?? "" });
      return;
    }
    case "evaluation": {
      const overall = event.rows.filter((row) => row.clientId === undefined);
      emit({ event: "evaluated", arm, round, metrics: Object.fromEntries(overall.map((row) => [row.metric, row.value])) });
      return;
    }
    case "roundFinished": {
      const { durationMs, numSucceeded, trainLoss } = event.record;
      emit({ event: "round_finished", arm, round, durationMs, numUpdates: numSucceeded, trainLoss });
    }
  }
}

/** One file for a global adapter, one per client otherwise. Returns how many files there are. */
async function saveAdapters(setup: ArmSetup, arm: ArmConfig, base: OpenBaseModel, adapters: AdapterSet): Promise<number> {
  const { paths } = setup;
  if (adapters.kind === "global") {
    const path = paths.adapter(arm.name);
    await mkdir(dirname(path), { recursive: true });
    await base.saveAdapter(path, arm.lora, adapters.weights);
    return 1;
  }
  const names = clientFileNames([...adapters.weights.keys()]);
  for (const [clientId, weights] of adapters.weights) {
    const path = paths.adapter(arm.name, names.get(clientId) ?? clientId);
    await mkdir(dirname(path), { recursive: true });
    await base.saveAdapter(path, arm.lora, weights);
  }
  return adapters.weights.size;
}
