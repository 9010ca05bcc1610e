/**
 * The arms of a run, one after another or several at once. Arms share nothing but the base models, which are read-only, so their results do not
 * depend on how many are at work. What belongs to the whole machine or process cannot be divided among arms: with several at work,
 * energy and what caches saved are not recorded, and peak memory is that of the process.
 */
import { stat } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename } from "node:path";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import { strategyLabel } from "../config/strategy-file.js";
import { FedllmError, isFedllmError, problemError } from "../errors.js";
import type { Executor, ExecutorFactory } from "../executor/executor.js";
import { mapBounded } from "../federated/bounded.js";
import { events } from "../metrics/queries.js";
import type { MetricsStore } from "../metrics/store.js";
import type { NativeKernelVariants, NativeMemoryPlan } from "../native/binding.js";
import { assert } from "../util/assert.js";
import { isArmFinished, runArm } from "./arm.js";
import type { ArmSetup } from "./arm.js";
import { BaseModels, precisionsOf } from "./base-models.js";
import { openBenchmarkSteps } from "./benchmark-steps.js";
import { openEmulator } from "./emulator.js";
import type { OpenEmulator, PlacedArm } from "./emulator.js";
import { createEnergyMeter, meterOf } from "./energy.js";
import type { SourceModel, TrainingEngine } from "./engine.js";
import type { RunListener } from "./events.js";
import type { ModelVariant } from "./model-variants.js";
import { createPeakMemory } from "./peak-memory.js";
import type { PeakMemory } from "./peak-memory.js";
import { memoryRequests } from "./plan.js";
import { forgetSecret } from "./privacy.js";
import type { RunPaths } from "./run-folder.js";
import type { StartAdapterFile } from "./start-adapter.js";
import type { TrainingData } from "./training-data.js";
import { fillTransferMatrix } from "./transfer.js";

/** What was loaded for them. */
export interface LoadedInputs {
  readonly engine: TrainingEngine;
  readonly source: SourceModel;
  /** All arms, in order. */
  readonly arms: readonly PlacedArm[];
  readonly variants: ReadonlyMap<string, ModelVariant>;
  readonly kernelVariants: Readonly<Record<string, NativeKernelVariants>>;
  readonly data: TrainingData;
  readonly startAdapters: ReadonlyMap<string, StartAdapterFile>;
}

export interface ArmsRequest {
  readonly config: ExperimentConfig;
  readonly paths: RunPaths;
  readonly store: MetricsStore;
  readonly runId: string;
  readonly emit: RunListener;
  readonly signal?: AbortSignal;
  /** Arms at work at once, as far as memory allows; auto: as cores allow. Absent: 1. */
  readonly parallelArms?: number | "auto";
  /** Judge adapters on all precisions in the end, whatever the configuration says. */
  readonly transfer?: boolean;
  /** Where clients train, which is made first and disposed of in the end; not with several arms at work at once. Absent: in this process. */
  readonly executor?: ExecutorFactory;
}

/** Runs those that are not finished. Throws CANCELLED, and what one of them throws, after all at work have stopped. */
export async function runArms(loaded: LoadedInputs, request: ArmsRequest): Promise<void> {
  const { config, store, emit } = request;
  const numAtOnce = await decideParallelArms(loaded, request);
  const stop = new AbortController();
  const forward = () => {
    stop.abort(request.signal?.reason);
  };
  if (request.signal?.aborted === true) forward();
  request.signal?.addEventListener("abort", forward);
  const isAlone = numAtOnce === 1;
  const energy = isAlone ? createEnergyMeter({ usesCards: usesDevice(config) }) : meterOf([]);
  const { benchmarks: asked } = config.evaluation;
  const benchmarks = asked === undefined ? undefined : await openBenchmarkSteps({ config, benchmarks: asked, engine: loaded.engine, paths: request.paths, emit, signal: stop.signal });
  const executor = await openExecutor(loaded, request, numAtOnce);
  const setup: ArmSetup = {
    config,
    paths: request.paths,
    data: loaded.data,
    store,
    peakMemory: isAlone ? createPeakMemory() : withoutReset(createPeakMemory()),
    energy,
    isAlone,
    shared: { start: new Map(), reference: new Map() },
    startAdapters: loaded.startAdapters,
    emit,
    ...(benchmarks === undefined ? {} : { benchmarks }),
    ...(executor === undefined ? {} : { executor }),
    signal: stop.signal,
  };
  const models = new BaseModels(loaded.engine, loaded.variants, emit, loaded.kernelVariants);
  const failures: unknown[] = [];
  try {
    await mapBounded([...loaded.arms.entries()], numAtOnce, stop.signal, async ([armIndex, placed]) => {
      try {
        await runOne({ loaded, request, setup, models }, armIndex, placed);
      } catch (error) {
        // The others stop too, and what they say then is not why.
        failures.push(error);
        stop.abort(error);
      }
    });
    if (failures.length > 0) throw failures[0];
    if (request.signal?.aborted === true && config.arms.some(({ name }) => !isArmFinished(store, name))) throw cancelled(request.signal);
    models.dispose();
    if (request.transfer ?? config.evaluation.transfer ?? false) await fillTransferMatrix(loaded, setup);
  } finally {
    request.signal?.removeEventListener("abort", forward);
    models.dispose();
    await executor?.dispose();
    energy.dispose();
    await benchmarks?.dispose();
  }
}

function cancelled({ reason }: AbortSignal): FedllmError {
  return new FedllmError("CANCELLED", "the run was cancelled; its last finished round is kept", { cause: reason });
}

interface ArmPlace {
  readonly loaded: LoadedInputs;
  readonly request: ArmsRequest;
  readonly setup: ArmSetup;
  readonly models: BaseModels;
}

async function runOne({ loaded, request, setup, models }: ArmPlace, armIndex: number, placed: PlacedArm): Promise<void> {
  const { arm } = placed;
  const { store } = request;
  if (isArmFinished(store, arm.name)) {
    forgetSecret(arm, request.paths.privacy);
    setup.emit({ event: "arm_skipped", arm: arm.name, reason: "finished before" });
    return;
  }
  const bases = await models.open(precisionsOf(arm));
  try {
    const base = bases.get(arm.precision);
    assert(base !== undefined, "the arm's own precision was opened");
    const variant = models.variant(arm.precision);
    store.saveArm(request.runId, {
      name: arm.name,
      armIndex,
      strategy: strategyLabel(arm.strategy),
      modelName: `${basename(loaded.source.path)} ${arm.precision}`,
      modelSha256: variant.sha256,
      modelWeightBytes: base.weightBytes,
      numParameters: base.trainer(arm.lora).layout.numParameters,
    });
    const emulator = await openArmEmulator(setup, loaded.engine, models, placed);
    try {
      const files = new Map([...bases.keys()].map((precision) => [precision, models.file(precision)]));
      await runArm(setup, arm, { base, bases, files, sha256: variant.sha256, ...(emulator === undefined ? {} : { emulator }) });
    } finally {
      emulator?.dispose();
    }
  } finally {
    models.release(precisionsOf(arm));
  }
}

/** Kind of the event that says what an arm's emulator is made of. */
const EMULATOR_MADE = "emulatorMade";

/** What an arm's clients get instead of the model; its layers and hash are noted once. */
async function openArmEmulator(setup: ArmSetup, engine: TrainingEngine, models: BaseModels, { arm, layers }: PlacedArm): Promise<OpenEmulator | undefined> {
  if (layers === undefined) return undefined;
  const { precision, name, lora } = arm;
  const emulator = await openEmulator(engine, {
    modelPath: models.variant(precision).path,
    path: setup.paths.emulator(name),
    layers,
    lora,
    open: (path) => models.openBeside(precision, path),
  });
  const isNoted = events(setup.store.database).some((event) => event.kind === EMULATOR_MADE && event.arm === name);
  if (isNoted) return emulator;
  setup.store.recordEvent({
    kind: EMULATOR_MADE,
    arm: name,
    createdAt: new Date().toISOString(),
    message: `layers ${layers.kept.join(" ")}; SHA-256 ${emulator.sha256}`,
  });
  return emulator;
}

/** Where clients train. Throws CONFIG_INVALID with several arms at once: workers keep the models of one arm. */
async function openExecutor({ engine, source, variants }: LoadedInputs, { config, paths, runId, executor, emit }: ArmsRequest, numArms: number): Promise<Executor | undefined> {
  if (executor === undefined) return undefined;
  if (numArms > 1) {
    throw problemError("CONFIG_INVALID", { subject: "--parallel-arms", expected: "1 with workers, who train one arm's clients at once", received: String(numArms) });
  }
  const requests = memoryRequests(config);
  return executor({
    runId,
    runFolder: paths.folder,
    llamaCppRelease: engine.llamaCppRelease,
    numThreads: config.numThreads,
    device: engine.deviceName,
    hiddenStateCache: config.hiddenStateCache,
    memoryRequests: requests,
    sourceModel: source,
    models: variants,
    fitting: async (wanted, numDevices) => {
      const plans = await Promise.all(requests.map((request) => engine.planMemory(source.path, request)));
      const most = mostWorkers(plans, { weightBytes: await weightsOfAll(config.arms, variants, source), ownWeights: engine.deviceName !== "CPU" });
      return Math.min(wanted, most * Math.max(1, numDevices));
    },
    emit,
  });
}

/** How many arms are at work at once: what was asked for, or what the cores suggest, cut to what memory holds. */
async function decideParallelArms({ engine, source, variants }: LoadedInputs, { config, parallelArms = 1, emit }: ArmsRequest): Promise<number> {
  const byCores = usesDevice(config) ? 1 : Math.max(1, Math.floor(availableParallelism() / config.numThreads));
  const wanted = Math.min(parallelArms === "auto" ? byCores : parallelArms, config.arms.length);
  if (wanted <= 1) return 1;
  try {
    const plans = await Promise.all(memoryRequests(config).map((request) => engine.planMemory(source.path, request)));
    const weightBytes = await weightsOfAll(config.arms, variants, source);
    const most = mostAtOnce(plans, weightBytes);
    if (most >= wanted) return wanted;
    emit({ event: "warning", message: `${String(most)} of ${String(wanted)} arms at once, since memory has no room for more` });
    return most;
  } catch (error) {
    // A model that does not fit at all is refused when it is trained, with the numbers.
    if (!isFedllmError(error, "OUT_OF_MEMORY")) throw error;
    return 1;
  }
}

/** Largest number of arms whose workspaces fit beside the weights of all precisions, which may be open together; at least 1. */
export function mostAtOnce(plans: readonly Pick<NativeMemoryPlan, "parts" | "limitBytes" | "streams">[], weightBytes: number): number {
  if (plans.some(({ streams }) => streams)) return 1;
  const workspaces = plans.map(({ parts }) => workspaceOf(parts));
  const room = Math.min(...plans.map(({ limitBytes }) => limitBytes)) - weightBytes;
  return Math.max(1, Math.floor(room / Math.max(1, ...workspaces)));
}

/** Beside what the plans know: a process of Node.js with the libraries loaded, and the samples and vectors of a job. */
const WORKER_PROCESS_BYTES = 200 * 1024 ** 2;

/**
 * Largest number of worker processes with room for their workspaces; at least 1. On the processor they share the weights, which are mapped; on a device
 * each has its own beside those of the run.
 */
export function mostWorkers(
  plans: readonly Pick<NativeMemoryPlan, "parts" | "limitBytes" | "streams">[],
  { weightBytes, ownWeights }: { readonly weightBytes: number; readonly ownWeights: boolean },
): number {
  const room = Math.min(...plans.map(({ limitBytes }) => limitBytes)) - weightBytes;
  const perWorker = Math.max(0, ...plans.map(({ parts }) => workspaceOf(parts))) + (ownWeights ? weightBytes : WORKER_PROCESS_BYTES);
  return Math.max(1, Math.floor(room / perWorker));
}

function workspaceOf(parts: NativeMemoryPlan["parts"]): number {
  return parts.adapter + parts.activations + parts.checkpoints + parts.scratch + parts.vectors + parts.descriptions;
}

/** Bytes of the weights of all precisions that arms name, by the sizes of their files. */
async function weightsOfAll(arms: readonly ArmConfig[], variants: ReadonlyMap<string, ModelVariant>, { weightBytes }: SourceModel): Promise<number> {
  const precisions = [...new Set(arms.flatMap(precisionsOf))];
  const sizes = await Promise.all(precisions.map(async (precision) => {
    const path = variants.get(precision)?.path;
    return path === undefined ? weightBytes : (await stat(path)).size;
  }));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function usesDevice({ device }: ExperimentConfig): boolean {
  return device !== undefined && device.toLowerCase() !== "cpu";
}

/** Of the whole process: an arm that begins must not forget what another one takes. */
function withoutReset(meter: PeakMemory): PeakMemory {
  return { scope: "process", reset: () => undefined, read: () => meter.read() };
}
