/**
 * One arm of a run: strategy and trainer put together, rounds run by the federation, its events passed on, held-out
 * evaluation, and the adapters saved at the end. An arm that was finished before is left as it is.
 */
import { mkdir } from "node:fs/promises";
import { createHash } from "node:crypto";
import { fingerprintLayout, type AdapterLayout } from "../adapter/layout.js";
import { createArmStrategy } from "../config/arm-strategies.js";
import { linksOf } from "../config/links.js";
import { participationOf, withoutFolders } from "../config/federation.js";
import { shapingDataFields } from "../config/load.js";
import { seedOf } from "../config/schema.js";
import type { ArmConfig, DpoConfig, ExperimentConfig } from "../config/schema.js";
import { strategyLabel } from "../config/strategy-file.js";
import { PythonRandom } from "../data/python-random.js";
import { CheckpointFolder } from "../federated/checkpoint.js";
import { createGrouped } from "../federated/groups.js";
import type { LocalTrainer } from "../federated/local-trainer.js";
import type { FederationDeps, FederationOptions } from "../federated/options.js";
import type { LossOptions, PreferenceTraining } from "../federated/client.js";
import type { FederationEvent } from "../federated/records.js";
import { runServer } from "../federated/server.js";
import type { FederationStart } from "../federated/server.js";
import type { Strategy } from "../federated/strategy.js";
import { withLinks } from "../federated/links.js";
import { withRobustRule } from "../federated/robust.js";
import { events } from "../metrics/queries.js";
import type { MetricsStore } from "../metrics/store.js";
import { assert } from "../util/assert.js";
import { deriveSeed } from "../util/random.js";
import { createServerTrainer } from "./alignment.js";
import { makeArmEvaluation, makeOwnEvaluation } from "./arm-evaluation.js";
import type { SharedResults } from "./arm-evaluation.js";
import type { BenchmarkSteps } from "./benchmark-steps.js";
import type { Executor, JobModel } from "../executor/executor.js";
import { ExecutorTrainer } from "../executor/executor-trainer.js";
import type { OpenBaseModel } from "./engine.js";
import type { OpenEmulator } from "./emulator.js";
import { fineTuneArm } from "./fine-tuning.js";
import { followHiddenStates } from "./hidden-state-measures.js";
import type { RunListener } from "./events.js";
import type { EnergyMeter } from "./energy.js";
import type { PeakMemory } from "./peak-memory.js";
import { openArmPrivacy, type ArmPrivacy } from "./privacy.js";
import type { RunPaths } from "./run-folder.js";
import { ARM_FINISHED } from "./run-state.js";
import { saveAdapters, saveEmulatorAdapters, saveJoined } from "./save-adapters.js";
import { readStartAdapter } from "./start-adapter.js";
import type { StartAdapter, StartAdapterFile } from "./start-adapter.js";
import type { TrainingData } from "./training-data.js";
import { planTraining } from "./training-plan.js";

/** Kind of the event that marks an arm which its privacy budget ended. */
export const PRIVACY_SPENT = "privacySpent";

/** What all arms of a run share. */
export interface ArmSetup {
  readonly config: ExperimentConfig;
  readonly paths: RunPaths;
  readonly data: TrainingData;
  readonly store: MetricsStore;
  readonly peakMemory: PeakMemory;
  readonly energy: EnergyMeter;
  /** No other arm is at work at the same time, so what happens in the process and on the machine is this one's. */
  readonly isAlone: boolean;
  readonly shared: SharedResults;
  /** By arm; empty when training begins with fresh adapters. */
  readonly startAdapters: ReadonlyMap<string, StartAdapterFile>;
  readonly emit: RunListener;
  /** Absent: no metrics are asked for. */
  readonly benchmarks?: BenchmarkSteps;
  /** Where clients train; absent: in this process, one after another. */
  readonly executor?: Executor;
  readonly signal?: AbortSignal;
}

/** The base model of one arm. */
export interface ArmModel {
  readonly base: OpenBaseModel;
  /** By precision, the arm's own first; more than one where clients train on different ones. */
  readonly bases: ReadonlyMap<string, OpenBaseModel>;
  /** Of the same precisions. */
  readonly files: ReadonlyMap<string, JobModel>;
  readonly sha256: string;
  /** What clients train on when they do not get the base. */
  readonly emulator?: OpenEmulator;
}

/** True when an earlier process finished this arm. */
export function isArmFinished(store: MetricsStore, arm: string): boolean {
  return events(store.database).some((event) => event.kind === ARM_FINISHED && event.arm === arm);
}

/** Trains an arm from its start or its last checkpoint to its end and saves its adapters. Its `lora` is that of the base. */
export async function runArm(setup: ArmSetup, arm: ArmConfig, model: ArmModel): Promise<void> {
  const { paths, data, config, emit } = setup;
  const hasStartAdapter = setup.startAdapters.has(arm.name);
  const place = { ledger: paths.privacy, fingerprint: fingerprintArm(setup, arm, model), seed: seedOf(config, arm), hasStartAdapter };
  const privacy = openArmPrivacy(arm, data.clients, place);
  for (const message of privacy.warnings) emit({ event: "warning", message });
  try {
    await trainArm(setup, arm, model, privacy);
    privacy.finish();
  } finally {
    privacy.close();
  }
}

async function trainArm(setup: ArmSetup, arm: ArmConfig, model: ArmModel, privacy: ArmPrivacy): Promise<void> {
  const { config, data, store, emit } = setup;
  const seed = seedOf(config, arm);
  const judge = model.base.trainer(arm.lora);
  const trainer = model.emulator?.trainer ?? judge;
  const trainers = new Map([...model.bases].map(([precision, base]) => [precision, base.trainer(arm.lora)]));
  const handedOn = trainersOfClients(setup, arm, model, { trainer, trainers });
  const mixed = trainers.size === 1 ? {} : { trainerOf: assignTrainers(handedOn.trainers, arm, seed) };
  const startFile = setup.startAdapters.get(arm.name);
  const initialSeed = deriveSeed(seed, "initial-adapter");
  const strategy = groupedFor(arm, await createArmStrategy(arm), data, startFile === undefined ? initialSeed : undefined);
  const checkpoints = await openCheckpoints(setup, arm, model, trainer.layout);
  const startAdapter = startFile === undefined ? undefined : await readStartAdapter(startFile, arm, model.base);
  const start = await findStart(checkpoints, emit, () => startAdapter?.weights ?? trainer.initialWeights(initialSeed));
  setup.peakMemory.reset();
  // What was used until now belongs to no round.
  setup.energy.read();
  emit({ event: "arm_started", arm: arm.name, round: start.kind === "snapshot" ? start.snapshot.round : 0 });
  const hiddenStates = followHiddenStates(!setup.isAlone || setup.executor !== undefined ? [] : [...model.bases.values(), ...(model.emulator === undefined ? [] : [model.emulator])]);
  const options = federationOptions(setup, arm, model, { strategy, startAdapter });
  const deps: FederationDeps = {
    trainer: handedOn.trainer,
    ...mixed,
    ...(data.groupOf === undefined ? {} : { groupOf: data.groupOf }),
    strategy,
    ...serverTrainer(arm, model, data),
    clients: data.clients,
    ...privacy.deps,
    sampleIndices: (seed, population, count) => new PythonRandom(seed).sample(population, count),
    clock: { monotonicMs: () => performance.now(), now: () => new Date() },
    metrics: {
      recordRound: (record) => {
        const energy = setup.energy.read();
        store.recordRound(arm.name, { ...record, measures: [...record.measures, ...hiddenStates()], ...(energy === undefined ? {} : { energy }) });
      },
      removeAfterRound: (round) => {
        store.deleteAfterRound(arm.name, round);
      },
    },
    checkpoints,
    // What this process takes says nothing of clients that train elsewhere.
    ...(setup.executor === undefined ? { peakMemoryBytes: () => setup.peakMemory.read() } : {}),
    afterRound: makeAfterRound(setup, arm, model),
    onEvent: (event) => {
      passOn(event, arm.name, emit);
    },
    ...(data.heldOut.samples.length === 0 ? {} : { evaluate: makeArmEvaluation(setup, arm, { trainers, emulator: model.emulator, base: model.base }, startAdapter) }),
    ...(setup.signal === undefined ? {} : { signal: setup.signal }),
  };
  const { round, adapters } = await runServer(options, deps, start);
  if (round < arm.training.numRounds) noteSpentBudget(setup, arm, round);
  const evaluateOwn = makeOwnEvaluation(setup, arm, judge, startAdapter);
  const numSaved = (await saveAdapters(setup, arm, model.base, adapters)) + (await saveEmulatorAdapters(setup, arm, model.emulator, adapters));
  const numAdapters = numSaved + (await fineTuneArm(setup, { arm, base: model.base, options, deps, adapters, evaluateOwn }));
  await setup.benchmarks?.atEnd({ arm, base: model.base, sha256: model.sha256 });
  store.recordEvent({
    kind: ARM_FINISHED,
    arm: arm.name,
    round,
    createdAt: new Date().toISOString(),
    message: `${String(numAdapters)} adapters saved`,
  });
  emit({ event: "arm_finished", arm: arm.name, adapters: numAdapters });
}

/** Keeps and asks the common adapter of a round where somebody wants it; that of the last round is the arm's result. */
function makeAfterRound({ config, paths, benchmarks }: ArmSetup, arm: ArmConfig, { base, sha256 }: ArmModel): NonNullable<FederationDeps["afterRound"]> {
  const { keepAdapters } = config.checkpoint;
  return async (round, { kind, weights, frozen }) => {
    if (round === arm.training.numRounds || kind !== "global") return;
    const isAsked = benchmarks?.isDue(round) === true;
    if (!isAsked && (keepAdapters === undefined || round % keepAdapters !== 0)) return;
    await saveJoined(paths.roundAdapter(arm.name, round), arm, base, { weights, frozen });
    if (isAsked) await benchmarks.afterRound({ arm, base, sha256 }, round);
  };
}

/** The arm ends with the adapter of its last round, the best that its budget pays for. */
function noteSpentBudget({ store, emit }: ArmSetup, { name, training, privacy }: ArmConfig, round: number): void {
  const message = `stopped after ${String(round)} of ${String(training.numRounds)} rounds: another one would cost more than epsilon ${String(privacy?.epsilon)}`;
  store.recordEvent({ kind: PRIVACY_SPENT, arm: name, round, createdAt: new Date().toISOString(), message });
  emit({ event: "warning", message: `arm ${name} ${message}` });
}

/** The checkpoints of an arm, which hold what was trained under the same settings only. */
export async function openCheckpoints(setup: ArmSetup, arm: ArmConfig, model: Pick<ArmModel, "sha256" | "emulator">, layout: AdapterLayout): Promise<CheckpointFolder> {
  const folder = setup.paths.checkpoints(arm.name);
  await mkdir(folder, { recursive: true });
  return new CheckpointFolder(folder, { configFingerprint: fingerprintArm(setup, arm, model), layoutFingerprint: fingerprintLayout(layout) });
}

/** For strategies that train at the server: where clients have an emulator and the server has data. */
function serverTrainer({ lora }: ArmConfig, { base, emulator }: ArmModel, { server: data }: TrainingData): Pick<FederationDeps, "server"> {
  return emulator === undefined || data === undefined ? {} : { server: createServerTrainer({ emulator, base, lora, data }) };
}

/**
 * The strategy with the arm's robust rule and links, once per group where the arm has an adapter for each. `initialSeed`: of the initial adapter; absent: it was
 * made otherwise, or sizes alone are asked for. Throws CONFIG_INVALID as createGrouped.
 */
export function groupedFor({ federation, robust }: ArmConfig, strategy: Strategy, { groupOf }: Pick<TrainingData, "groupOf">, initialSeed?: number): Strategy {
  const wired = withLinks(withRobustRule(strategy, robust), linksOf(federation), initialSeed);
  if (!federation.adapterPerGroup) return wired;
  assert(groupOf !== undefined, "the configuration has groups where an arm has adapters for them");
  return createGrouped(wired, groupOf);
}

/** The trainers that clients' tasks go to: those of this process, or of an executor's jobs on the same files. */
function trainersOfClients(
  { executor }: ArmSetup,
  arm: ArmConfig,
  { emulator, files }: ArmModel,
  local: { readonly trainer: LocalTrainer; readonly trainers: ReadonlyMap<string, LocalTrainer> },
): typeof local {
  if (executor === undefined) return local;
  const lora = emulator === undefined ? arm.lora : { ...arm.lora, layers: [...emulator.layers.inEmulator] };
  const handOn = (trainer: LocalTrainer, precision: string): LocalTrainer => {
    const file = files.get(precision);
    assert(file !== undefined, "every opened model has a file");
    const model = emulator === undefined ? file : { ...file, path: emulator.path, sha256: emulator.sha256 };
    return new ExecutorTrainer({ executor, arm: arm.name, model, lora, local: trainer });
  };
  return {
    trainer: handOn(local.trainer, arm.precision),
    trainers: new Map([...local.trainers].map(([precision, trainer]) => [precision, handOn(trainer, precision)])),
  };
}

/** Each client's trainer, by the precision of its device. All have one layout, or the adapter could not be one. */
function assignTrainers(trainers: ReadonlyMap<string, LocalTrainer>, arm: ArmConfig, seed: number): NonNullable<FederationDeps["trainerOf"]> {
  const layouts = new Set([...trainers.values()].map(({ layout }) => fingerprintLayout(layout)));
  assert(layouts.size === 1, "models of the same shapes give an adapter one layout");
  const { deviceOf } = participationOf(arm.federation, seed, () => 0);
  return (clientId) => {
    const precision = deviceOf?.(clientId).precision ?? arm.precision;
    const trainer = trainers.get(precision);
    assert(trainer !== undefined, "the models of all devices were opened");
    return { trainer, precision };
  };
}

/** The checkpoint if there is one, otherwise the start adapter or the seeded initial one; arms of equal shape start alike. */
async function findStart(checkpoints: CheckpointFolder, emit: RunListener, freshWeights: () => Float32Array): Promise<FederationStart> {
  const loaded = await checkpoints.load();
  for (const message of loaded?.warnings ?? []) emit({ event: "warning", message });
  if (loaded !== undefined) return { kind: "snapshot", snapshot: loaded.snapshot };
  return { kind: "weights", weights: freshWeights() };
}

/** Of everything the rounds of an arm depend on beside the adapter's layout. */
function fingerprintArm(setup: ArmSetup, arm: ArmConfig, model: Pick<ArmModel, "sha256" | "emulator">): string {
  const { config, data } = setup;
  const { evaluation, numThreads, device } = config;
  const text = JSON.stringify({
    arm: { ...arm, strategy: strategyLabel(arm.strategy), federation: withoutFolders(arm.federation) },
    seed: seedOf(config, arm),
    evaluation,
    numThreads,
    device,
    data: shapingDataFields(config),
    objective: config.training.objective,
    startAdapter: setup.startAdapters.get(arm.name)?.sha256,
    hashes: data.hashes,
    model: model.sha256,
    emulator: model.emulator?.sha256,
  });
  return createHash("sha256").update(text).digest("hex");
}

function federationOptions(
  { config, data, executor }: ArmSetup,
  arm: ArmConfig,
  model: ArmModel,
  { strategy, startAdapter }: { readonly strategy: Strategy; readonly startAdapter: StartAdapter | undefined },
): FederationOptions {
  const { training, lora } = arm;
  const seed = seedOf(config, arm);
  const { maxGradientNorm, ...optimizer } = training.optimizer;
  return {
    seed,
    microBatchTokens: training.microBatchTokens,
    optimizer: { ...optimizer, ...(maxGradientNorm === null ? {} : { maxGradientNorm }) },
    dropout: lora.dropout,
    loss: lossOptions(training),
    plan: planTraining(training),
    ...(training.dpo === undefined ? {} : { preference: preferenceTraining(training.dpo, startAdapter) }),
    // Pooled data is one participant by nature.
    minClients: strategy.participants === "pooled" ? 1 : training.minClients,
    participation: participationOf(arm.federation, seed, ({ precision = arm.precision }) => (model.emulator ?? model.bases.get(precision))?.weightBytes ?? 0),
    // In this process the trainer uses all threads for one client; several at once would only need more memory.
    maxConcurrentClients: executor?.capacity ?? 1,
    evaluateEvery: config.evaluation.every ?? training.numRounds,
    evaluateBeforeTraining: data.heldOut.samples.length > 0,
    measureAggregation: config.evaluation.aggregationError,
    checkpointEvery: config.checkpoint.every,
  };
}

/** What differs from the plain loss. */
function lossOptions({ labelSmoothing, neftuneAlpha, loraPlusRatio, lossScale }: ArmConfig["training"]): LossOptions {
  return {
    ...(labelSmoothing === 0 ? {} : { labelSmoothing }),
    ...(neftuneAlpha === 0 ? {} : { neftuneAlpha }),
    ...(loraPlusRatio === 1 ? {} : { loraPlusRatio }),
    ...(lossScale === undefined ? {} : { lossScale }),
  };
}

function preferenceTraining({ beta, labelSmoothing, reference }: DpoConfig, start: StartAdapter | undefined): PreferenceTraining {
  const fixed = { kind: "dpo", beta, labelSmoothing } as const;
  if (reference !== "start") return { ...fixed, reference };
  assert(start !== undefined, "the configuration has a start adapter where it is the reference");
  return { ...fixed, reference: { weights: start.weights } };
}

/** Federation events in the words of the run's listeners. */
function passOn(event: FederationEvent, arm: string, emit: RunListener): void {
  const { round } = event;
  switch (event.type) {
    case "roundStarted":
      emit({ event: "round_started", arm, round, clientIds: event.clientIds });
      return;
    case "serverProgress": {
      const { step, localSteps, loss } = event;
      emit({ event: "server_step", arm, round, step, localSteps, loss });
      return;
    }
    case "serverFinished": {
      const { first, last } = event;
      emit({ event: "server_trained", arm, round, hiddenBefore: first.hidden, hidden: last.hidden, divergenceBefore: first.divergence, divergence: last.divergence });
      return;
    }
    case "clientStarted":
      emit({ event: "client_started", arm, round, clientId: event.clientId });
      return;
    case "clientProgress": {
      const { clientId, step, localSteps, loss, numTokens } = event;
      emit({ event: "client_step", arm, round, clientId, step, localSteps, loss, numTokens });
      return;
    }
    case "clientFinished": {
      const { clientId, numTokens, trainLoss, trainDurationMs, preference, memory } = event.client;
      const reward = preference === undefined ? {} : { rewardAccuracy: preference.rewardAccuracy };
      if (numTokens === undefined || trainLoss === undefined || trainDurationMs === undefined) return;
      emit({ event: "client_finished", arm, round, clientId, numTokens, trainLoss, ...reward, durationMs: trainDurationMs, ...(memory?.fellBack === true ? { fellBack: true } : {}) });
      return;
    }
    case "clientFailed": {
      const { clientId, failureCode, failureMessage } = event.client;
      emit({ event: "client_failed", arm, round, clientId, code: failureCode ?? "TRAIN_FAILED", message: failureMessage ?? "" });
      return;
    }
    case "evaluation": {
      const overall = event.rows.filter((row) => row.clientId === undefined && row.group === undefined);
      emit({ event: "evaluated", arm, round, metrics: Object.fromEntries(overall.map((row) => [row.metric, row.value])) });
      return;
    }
    case "roundFinished": {
      const { durationMs, numSucceeded, trainLoss, preference } = event.record;
      const reward = preference === undefined ? {} : { rewardAccuracy: preference.rewardAccuracy };
      emit({ event: "round_finished", arm, round, durationMs, numUpdates: numSucceeded, trainLoss, ...reward });
    }
  }
}
