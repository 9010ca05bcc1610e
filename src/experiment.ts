/**
 * The composition root: configuration -> model, data, trainer, strategy, store -> all arms of a run (src/run/arms.ts).
 * Starting and resuming are the same walk; what differs is only whether the folder is new. Rounds are src/federated,
 * one arm is src/run/arm.ts.
 */
import { randomUUID } from "node:crypto";
import { mkdir, readdir, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { resolveModelPath } from "./config/builtin.js";
import { createArmStrategy } from "./config/arm-strategies.js";
import { fingerprintConfig, loadConfig } from "./config/load.js";
import type { ExperimentConfig } from "./config/schema.js";
import { profileModels } from "./config/federation.js";
import { isStrategyFile, strategyLabel } from "./config/strategy-file.js";
import { FedllmError, errorCodeOf, isFedllmError, problemError } from "./errors.js";
import { ensureSqlite } from "./metrics/ensure-sqlite.js";
import type { ExecutorFactory } from "./executor/executor.js";
import type { PredictionLine } from "./metrics/study-queries.js";
import { MetricsStore } from "./metrics/store.js";
import { summarizeRun, writeSummary } from "./report/summary.js";
import type { NativeKernelVariants } from "./native/binding.js";
import type { Summary } from "./report/summary.js";
import { runArms } from "./run/arms.js";
import { checkBenchmarks } from "./run/benchmark-steps.js";
import type { ArmsRequest } from "./run/arms.js";
import { precisionsOf } from "./run/base-models.js";
import type { ModelTokenizer, SourceModel, TrainingEngine } from "./run/engine.js";
import type { RunListener } from "./run/events.js";
import { hashFile } from "./run/file-hash.js";
import { EXACT_VARIANTS } from "./run/kernel-variants.js";
import type { ModelVariant } from "./run/model-variants.js";
import { placeArm } from "./run/emulator.js";
import type { PlacedArm } from "./run/emulator.js";
import { createPeakMemory } from "./run/peak-memory.js";
import { stringifyConfig } from "./run/resolved-config.js";
import { checkNewFolder, findRun, runPaths } from "./run/run-folder.js";
import type { RunPaths } from "./run/run-folder.js";
import { checkSameInputs, makeRunRecord, readRunRecord, writeRunRecord } from "./run/run-record.js";
import type { RunRecord } from "./run/run-record.js";
import { locateStartAdapters } from "./run/start-adapter.js";
import type { StartAdapterFile } from "./run/start-adapter.js";
import { loadTrainingData } from "./run/training-data.js";
import type { TrainingData } from "./run/training-data.js";
import { removeTemporaryFiles, writeFileAtomic } from "./util/atomic-file.js";
import { RUN_LOCK_NAME, acquireRunLock } from "./util/lock-file.js";

export interface RunOptions {
  readonly onEvent?: RunListener;
  /** Aborting stops within one micro-batch; the state of the last checkpoint is kept. */
  readonly signal?: AbortSignal;
  /** Record of a run that this one repeats: its inputs must be the same bytes, and its kernel variants are taken. */
  readonly like?: RunRecord;
  /** Where training happens; default: the native addon. */
  readonly createEngine?: EngineFactory;
  /** Arms at work at once, as many as memory has room for; auto: as many as cores have room for too. Results are the same. Default: 1. */
  readonly parallelArms?: number | "auto";
  /** Judge adapters on all precisions of the run in the end; default: what the configuration says (evaluation.transfer). */
  readonly transfer?: boolean;
  /** Where clients train, for example processExecutor of src/executor; results are the same. Default: in this process, one after another. */
  readonly executor?: ExecutorFactory;
  /** What the run was predicted to cost, kept with it and shown beside what it did cost. */
  readonly predictions?: readonly PredictionLine[];
}

/** Makes the engine of a configuration; `onProgress` hears of builds that take a while. */
export type EngineFactory = (config: ExperimentConfig, onProgress: (line: string) => void) => Promise<TrainingEngine>;

/** Where a finished run lies, and its table. */
export interface RunResult {
  readonly paths: RunPaths;
  readonly record: RunRecord;
  readonly summary: Summary;
}

/**
 * Runs a new experiment in a new or empty folder. Throws CANCELLED when aborted, RUN_EXISTS and RUN_LOCKED for the
 * folder, and whatever model, data and training throw; after such an error the run can be resumed once its
 * configuration is in the folder.
 */
export async function runExperiment(config: ExperimentConfig, folder: string, options: RunOptions = {}): Promise<RunResult> {
  await ensureSqlite({ onProgress: warner(options) });
  const paths = runPaths(folder);
  await checkNewFolder(paths);
  const isNew = (await mkdir(paths.folder, { recursive: true })) !== undefined;
  try {
    return await withLock(paths, options, async () => {
      // Another process may have begun between the first look and the lock.
      await checkNewFolder(paths);
      return runLocked(config, paths, options, undefined);
    });
  } catch (error) {
    if (isNew) await removeUnbegun(paths.folder);
    throw error;
  }
}

/** Removes a folder in which nothing was begun, since a wrong path or option should leave nothing behind. */
async function removeUnbegun(folder: string): Promise<void> {
  const names = await readdir(folder).catch(() => []);
  if (names.some((name) => name !== RUN_LOCK_NAME)) return;
  // What another process writes there meanwhile stays: a folder that is not empty is not removed.
  await rm(join(folder, RUN_LOCK_NAME), { force: true });
  await rmdir(folder).catch(() => undefined);
}

/** Continues an interrupted run where its last checkpoints are; a finished run is left as it is. Throws as runExperiment. */
export async function resumeExperiment(nameOrFolder: string, options: RunOptions = {}): Promise<RunResult> {
  await ensureSqlite({ onProgress: warner(options) });
  const paths = findRun(nameOrFolder);
  return withLock(paths, options, async () => {
    const { config } = await loadConfig({ file: paths.config });
    return runLocked(config, paths, options, readRunRecord(paths.record));
  });
}

/** Holds the folder's lock while working and tells listeners how it ended. */
async function withLock(paths: RunPaths, options: RunOptions, work: () => Promise<RunResult>): Promise<RunResult> {
  const lock = acquireRunLock(paths.folder);
  try {
    const { abandonedBy } = lock;
    if (abandonedBy !== undefined) {
      warner(options)(`the process before (${String(abandonedBy.pid)} on ${abandonedBy.host}) ended without finishing`);
    }
    await removeTemporaryFiles(paths.folder);
    return await work();
  } catch (error) {
    options.onEvent?.({
      event: "run_stopped",
      runFolder: paths.folder,
      reason: isFedllmError(error, "CANCELLED") ? "interrupted" : "failed",
      message: `${errorCodeOf(error)}: ${error instanceof Error ? error.message : String(error)}`,
    });
    throw error;
  } finally {
    lock.release();
  }
}

/** Everything that is loaded before the first round. */
interface Prepared {
  readonly engine: TrainingEngine;
  readonly source: SourceModel;
  /** All arms, in order. */
  readonly arms: readonly PlacedArm[];
  readonly variants: ReadonlyMap<string, ModelVariant>;
  readonly kernelVariants: Readonly<Record<string, NativeKernelVariants>>;
  readonly data: TrainingData;
  readonly tokenizer: ModelTokenizer;
  readonly startAdapters: ReadonlyMap<string, StartAdapterFile>;
  readonly hashes: Readonly<Record<string, string>>;
}

async function runLocked(
  config: ExperimentConfig,
  paths: RunPaths,
  options: RunOptions,
  earlier: RunRecord | undefined,
): Promise<RunResult> {
  const startMs = performance.now();
  const emit = options.onEvent ?? (() => undefined);
  const arms = config.arms.map(({ name, precision, strategy, training }) => ({
    name,
    precision,
    strategy: strategyLabel(strategy),
    numRounds: training.numRounds,
  }));
  emit({ event: "run_started", runFolder: paths.folder, name: config.name, arms, resumed: earlier !== undefined });
  const prepared = await prepare(config, options, earlier);
  try {
    const record = await recordRun(config, paths, prepared, earlier, options);
    const store = new MetricsStore(paths.metrics);
    try {
      store.saveRun({
        id: record.id,
        createdAt: record.startedAt,
        seed: config.seed,
        config,
        versions: record.versions,
        ...(prepared.hashes["data.train"] === undefined ? {} : { dataSha256: prepared.hashes["data.train"] }),
      });
      if (options.predictions !== undefined) store.savePredictions(options.predictions);
      await runArms(prepared, { config, paths, store, runId: record.id, ...armsOptions(options) });
      await writeSummary(store.database, paths, record);
      const summary = summarizeRun(store.database);
      emit({ event: "run_finished", runFolder: paths.folder, durationMs: performance.now() - startMs });
      return { paths, record, summary };
    } finally {
      store.close();
    }
  } finally {
    prepared.tokenizer.dispose();
  }
}

async function prepare(config: ExperimentConfig, options: RunOptions, earlier: RunRecord | undefined): Promise<Prepared> {
  checkBenchmarks(config.evaluation.benchmarks);
  const createEngine = options.createEngine ?? createDefaultEngine;
  const engine = await createEngine(config, warner(options));
  throwIfAborted(options.signal);
  const startAdapters = await locateStartAdapters(config.training.startAdapter, config.arms);
  const source = await engine.openSource(resolveModelPath(config.model));
  const arms = await Promise.all(config.arms.map(async (arm) => placeArm(arm, await createArmStrategy(arm), source.numLayers)));
  const variants = new Map<string, ModelVariant>();
  const files = new Map(config.arms.flatMap(({ federation }) => [...profileModels(federation)]));
  for (const precision of new Set(config.arms.flatMap(precisionsOf))) {
    throwIfAborted(options.signal);
    const path = files.get(precision);
    variants.set(precision, path === undefined ? await engine.ensureVariant(source, precision) : { precision, path, sha256: await hashModel(path), made: false });
  }
  throwIfAborted(options.signal);
  const kernelVariants = await chooseKernelVariants(config, engine, variants, earlier ?? options.like);
  throwIfAborted(options.signal);
  const { data, tokenizer } = await loadDataOf(config, engine, source);
  for (const message of [...data.warnings, ...contextWarning(config, source)]) warner(options)(message);
  options.onEvent?.({ event: "data_loaded", ...data.counts });
  const variantHashes = [...variants].map(([precision, variant]) => [`model.${precision}`, variant.sha256] as const);
  return {
    engine,
    source,
    arms,
    variants,
    kernelVariants,
    data,
    tokenizer,
    startAdapters,
    hashes: {
      model: source.sha256,
      ...Object.fromEntries(variantHashes),
      ...data.hashes,
      ...Object.fromEntries([...startAdapters].map(([arm, { sha256 }]) => [`startAdapter.${arm}`, sha256])),
      ...(await hashStrategies(config)),
    },
  };
}

/** SHA-256 of a file that a device names. Throws CONFIG_INVALID when it cannot be read. */
async function hashModel(path: string): Promise<string> {
  return hashFile(path).catch((error: unknown) => {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("CONFIG_INVALID", { subject: `federation.devices.profiles: model ${path}`, expected: "a readable GGUF file", received }, error);
  });
}

/** By precision: those that the run began with, otherwise the exact ones or what is fastest here. */
async function chooseKernelVariants(
  config: ExperimentConfig,
  engine: TrainingEngine,
  models: ReadonlyMap<string, ModelVariant>,
  earlier: RunRecord | undefined,
): Promise<Readonly<Record<string, NativeKernelVariants>>> {
  const chosen: Record<string, NativeKernelVariants> = {};
  for (const [precision, model] of models) {
    if (earlier !== undefined) chosen[precision] = earlier.kernelVariants?.[precision] ?? EXACT_VARIANTS;
    else if (config.deterministic) chosen[precision] = EXACT_VARIANTS;
    else chosen[precision] = (await engine.chooseVariants?.(model.path, model.sha256)) ?? EXACT_VARIANTS;
  }
  return chosen;
}

/** SHA-256 of each strategy that comes from a file, by arm; what such a file imports is not covered. */
async function hashStrategies(config: ExperimentConfig): Promise<Readonly<Record<string, string>>> {
  const files = config.arms.filter(({ strategy }) => isStrategyFile(strategy));
  const entries = files.map(async ({ name, strategy }) => [`strategy.${name}`, await hashFile(strategy)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

function contextWarning(config: ExperimentConfig, source: SourceModel): string[] {
  const { maxLength } = config.data;
  if (maxLength <= source.contextLength) return [];
  return [
    `data.maxLength (${String(maxLength)}) is above the model's context length (${String(source.contextLength)}); ` +
      "it was not trained for longer samples",
  ];
}

/** The data, and the tokenizer that it needs as long as clients are asked for samples. */
async function loadDataOf(
  config: ExperimentConfig,
  engine: TrainingEngine,
  source: SourceModel,
): Promise<{ readonly data: TrainingData; readonly tokenizer: ModelTokenizer }> {
  const tokenizer = await engine.openTokenizer(source.path);
  try {
    return { data: await loadTrainingData(config, tokenizer), tokenizer };
  } catch (error) {
    tokenizer.dispose();
    throw error;
  }
}

/** Checks a resumed run's inputs, or writes a new run's description; the configuration comes last and makes it a run. */
async function recordRun(
  config: ExperimentConfig,
  paths: RunPaths,
  prepared: Prepared,
  earlier: RunRecord | undefined,
  { parallelArms = 1, like }: RunOptions,
): Promise<RunRecord> {
  const { engine, hashes } = prepared;
  if (earlier !== undefined) {
    checkSameInputs(earlier, { hashes, llamaCpp: engine.llamaCppRelease });
    return earlier;
  }
  if (like !== undefined) checkSameInputs(like, { hashes, llamaCpp: engine.llamaCppRelease });
  const record = await makeRunRecord({
    id: randomUUID(),
    name: config.name,
    seed: config.seed,
    configFingerprint: fingerprintConfig(config),
    llamaCpp: engine.llamaCppRelease,
    addonPath: engine.addonPath,
    device: engine.deviceName,
    numThreads: config.numThreads,
    // Arms that are at work together have one peak.
    peakMemoryScope: parallelArms === 1 ? createPeakMemory().scope : "process",
    hashes,
    kernelVariants: prepared.kernelVariants,
    ...(config.data.synthetic ? { syntheticData: { profile: config.data.generated.profile, seed: config.data.generated.seed } } : {}),
    workingFolder: process.cwd(),
  });
  await writeRunRecord(paths.record, record);
  await writeFileAtomic(paths.config, stringifyConfig(config));
  return record;
}

async function createDefaultEngine(config: ExperimentConfig, onProgress: (line: string) => void): Promise<TrainingEngine> {
  // Loaded late: a program that brings its own engine needs no addon.
  const [{ createNativeEngine }, { memoryRequests }] = await Promise.all([import("./run/native-engine.js"), import("./run/plan.js")]);
  const workload = { path: resolveModelPath(config.model), requests: memoryRequests(config) };
  const { numThreads, device, hiddenStateCache } = config;
  return createNativeEngine({ numThreads, device, hiddenStateCache, workload, onProgress });
}

function armsOptions({ onEvent, signal, parallelArms, transfer, executor }: RunOptions): Pick<ArmsRequest, "emit" | "signal" | "parallelArms" | "transfer" | "executor"> {
  const wanted = { ...(transfer === undefined ? {} : { transfer }), ...(executor === undefined ? {} : { executor }) };
  return { ...wanted, emit: onEvent ?? (() => undefined), ...(signal === undefined ? {} : { signal }), ...(parallelArms === undefined ? {} : { parallelArms }) };
}

function warner(options: RunOptions): (message: string) => void {
  return (message) => options.onEvent?.({ event: "warning", message });
}

function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new FedllmError("CANCELLED", "the run was cancelled; its last finished round is kept", { cause: signal.reason });
}
