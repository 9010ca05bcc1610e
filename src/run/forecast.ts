/**
 * What a run will cost, predicted from a few seconds of measuring: real training steps and an evaluation on the source model with the run's own samples, and
 * a file written to the disk. Counts (tokens, bytes) are those of the plan; time and energy are counts divided by measured speeds.
 *
 * Intervals of time and energy go from the fastest to the slowest of the measured steps, a quarter further on both sides; where an arm's weights have another
 * precision than those that were measured, from half to twice. They say nothing about what else the machine will do later.
 */
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { resolveModelPath } from "../config/builtin.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import { seedOf } from "../config/schema.js";
import { sequencesOf, type LocalTrainer, type TokenizedSample } from "../federated/local-trainer.js";
import type { PredictionLine } from "../metrics/study-queries.js";
import { assert } from "../util/assert.js";
import { createArmStrategy } from "../config/arm-strategies.js";
import type { Strategy } from "../federated/strategy.js";
import { createEnergyMeter } from "./energy.js";
import type { TrainingEngine } from "./engine.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import { planExperiment, type ArmEstimate, type ExperimentPlan } from "./plan.js";
import { loadTrainingData } from "./training-data.js";

/** Steps whose times count; one before them warms caches up. */
const NUM_STEPS = 3;
/** Held-out samples that are scored. */
const NUM_SCORED = 16;
const PROBE_BYTES = 8 * 2 ** 20;
const SPREAD = 1.25;
const OTHER_PRECISION_SPREAD = 2;
/** A change that leaves more of what is exceeded is not worth proposing. */
const HELPS = 0.98;
/** Checkpoints that are kept of an arm. */
const NUM_CHECKPOINTS = 2;

/** A value and where it is expected to be. */
export interface Range {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** Speeds of this machine at this work, at this moment. */
export interface DeviceMeasure {
  /** Computed tokens per second of each measured training step. */
  readonly trainTokensPerSecond: readonly number[];
  /** Of scoring held-out samples; absent without any. */
  readonly scoreTokensPerSecond?: number;
  readonly diskBytesPerSecond: number;
  /** Of the machine, per computed token; absent where nobody tells. */
  readonly joulesPerToken?: number;
  /** Tokens of all held-out samples, which each evaluation passes over once per adapter. */
  readonly heldOutTokens: number;
}

/** What an arm will cost. */
export interface ArmForecast {
  readonly arm: string;
  readonly tokens: number;
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** Absent while the model's file is not there. */
  readonly peakMemoryBytes?: number;
  /** At least: one adapter and checkpoints of the server's first state. Adapters and states of clients, and what a method adds to its state later, come on top. */
  readonly diskBytes: number;
  readonly timeMs: Range;
  readonly energyJoules?: Range;
}

export interface Forecast {
  readonly plan: ExperimentPlan;
  readonly measure: DeviceMeasure;
  readonly arms: readonly ArmForecast[];
}

/** Measures for a few seconds. `folder`: on the disk that the run will write to. Throws as a run for a wrong model or data. */
export async function measureDevice(config: ExperimentConfig, engine: TrainingEngine, folder: string): Promise<DeviceMeasure> {
  const source = await engine.openSource(resolveModelPath(config.model));
  const tokenizer = await engine.openTokenizer(source.path);
  const variants = config.deterministic ? EXACT_VARIANTS : ((await engine.chooseVariants?.(source.path, source.sha256)) ?? EXACT_VARIANTS);
  const base = await engine.openBaseModel(source.path, variants);
  try {
    const data = await loadTrainingData(config, tokenizer);
    const [arm] = config.arms;
    const client = data.clients.find(({ numSamples }) => numSamples > 0);
    assert(arm !== undefined && client !== undefined, "an experiment has arms, and data has clients with samples");
    const count = Math.min(client.numSamples, arm.training.batchSize * (NUM_STEPS + 1));
    const samples = sequencesOf(await client.readSamples(Array.from({ length: count }, (_, index) => index)));
    const heldOut = sequencesOf(data.heldOut.samples);
    const trainer = base.trainer(arm.lora);
    const training = await timeSteps(trainer, config, arm, samples);
    const scored = heldOut.slice(0, NUM_SCORED);
    const score = scored.length === 0 ? undefined : await timeScoring(trainer, arm, scored, trainer.initialWeights(seedOf(config, arm)));
    return {
      ...training,
      ...(score === undefined ? {} : { scoreTokensPerSecond: score }),
      diskBytesPerSecond: await timeDisk(folder),
      heldOutTokens: tokensOf(heldOut),
    };
  } finally {
    base.dispose();
    tokenizer.dispose();
  }
}

async function timeSteps(trainer: LocalTrainer, config: ExperimentConfig, arm: ArmConfig, samples: readonly TokenizedSample[]): Promise<Pick<DeviceMeasure, "trainTokensPerSecond" | "joulesPerToken">> {
  const { training, lora } = arm;
  const { maxGradientNorm, ...optimizer } = training.optimizer;
  const energy = createEnergyMeter({ usesCards: config.device !== undefined && config.device !== "cpu" });
  const speeds: number[] = [];
  let numTokens = 0;
  try {
    for (let step = 0; step <= NUM_STEPS; step++) {
      if (step === 1) energy.read();
      const begun = performance.now();
      // Preferences pass over the same samples, with a reference beside them where it is not cached; plain steps stand for them.
      const result = await trainer.train({
        weights: trainer.initialWeights(seedOf(config, arm)),
        samples,
        localSteps: 1,
        batchSize: Math.min(training.batchSize, samples.length),
        microBatchTokens: training.microBatchTokens,
        clientLearningRate: training.initialLearningRate,
        optimizer: { ...optimizer, ...(maxGradientNorm === null ? {} : { maxGradientNorm }) },
        dropout: lora.dropout,
        seed: step,
      });
      if (step === 0) continue;
      numTokens += result.numTokens;
      speeds.push((1000 * result.numTokens) / (performance.now() - begun));
    }
    const used = energy.read();
    const joules = used === undefined ? undefined : (used.cpuJoules ?? 0) + (used.gpuJoules ?? 0);
    return { trainTokensPerSecond: speeds, ...(joules === undefined ? {} : { joulesPerToken: joules / numTokens }) };
  } finally {
    energy.dispose();
  }
}

async function timeScoring(trainer: LocalTrainer, { training }: ArmConfig, samples: readonly TokenizedSample[], weights: Float32Array): Promise<number> {
  const begun = performance.now();
  await trainer.evaluate({ weights, samples, microBatchTokens: training.microBatchTokens });
  return (1000 * tokensOf(samples)) / (performance.now() - begun);
}

/** Writes and flushes a file beside where the run will be, and removes it. */
async function timeDisk(folder: string): Promise<number> {
  const path = join(folder, `.fedllm-probe-${String(process.pid)}.partial`);
  const file = await open(path, "w");
  try {
    const begun = performance.now();
    await file.write(Buffer.alloc(PROBE_BYTES, 1));
    await file.sync();
    return (1000 * PROBE_BYTES) / (performance.now() - begun);
  } finally {
    await file.close();
    await rm(path, { force: true });
  }
}

function tokensOf(samples: readonly TokenizedSample[]): number {
  return samples.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

/** The plan with what was measured. */
export async function forecastExperiment(config: ExperimentConfig, engine: TrainingEngine, measure: DeviceMeasure): Promise<Forecast> {
  const plan = await planExperiment(config, engine);
  const arms: ArmForecast[] = [];
  for (const [index, estimate] of plan.arms.entries()) {
    const arm = config.arms[index];
    assert(arm !== undefined, "the plan has the arms of the configuration");
    arms.push(forecastArm(config, arm, estimate, { measure, stateBytes: stateBytesOf(await createArmStrategy(arm), estimate.trainableParameters) }));
  }
  return { plan, measure, arms };
}

/** What a checkpoint holds of the server at least: the vectors of the first state; some methods add more of them in the first round. */
function stateBytesOf(strategy: Strategy, numParameters: number): number {
  const arrays = Object.values(strategy.init(new Float32Array(numParameters)).arrays);
  return arrays.reduce((sum, { byteLength }) => sum + byteLength, 0);
}

function forecastArm(config: ExperimentConfig, arm: ArmConfig, estimate: ArmEstimate, { measure, stateBytes }: { readonly measure: DeviceMeasure; readonly stateBytes: number }): ArmForecast {
  const { numRounds, trainableParameters, estimatedTokens, uploadBytes, downloadBytes, predictedMemoryBytes } = estimate;
  const every = config.evaluation.every ?? numRounds;
  // Before training, in their turn, and after the last round.
  const numEvaluations = 1 + Math.ceil(numRounds / every);
  const adapterBytes = 4 * trainableParameters;
  const numCheckpoints = Math.ceil(numRounds / config.checkpoint.every);
  const scoringMs = measure.scoreTokensPerSecond === undefined ? 0 : (1000 * numEvaluations * measure.heldOutTokens) / measure.scoreTokensPerSecond;
  const otherMs = scoringMs + (1000 * numCheckpoints * stateBytes) / measure.diskBytesPerSecond;
  const speeds = measure.trainTokensPerSecond;
  const mean = speeds.reduce((sum, speed) => sum + speed, 0) / speeds.length;
  const spread = arm.precision === "source" ? SPREAD : OTHER_PRECISION_SPREAD;
  const at = (speed: number) => (1000 * estimatedTokens) / speed + otherMs;
  const timeMs = { value: at(mean), low: at(Math.max(...speeds)) / spread, high: at(Math.min(...speeds)) * spread };
  const joules = measure.joulesPerToken === undefined ? undefined : measure.joulesPerToken * estimatedTokens;
  return {
    arm: arm.name,
    tokens: estimatedTokens,
    uploadBytes,
    downloadBytes,
    ...(predictedMemoryBytes === undefined ? {} : { peakMemoryBytes: predictedMemoryBytes }),
    diskBytes: adapterBytes + stateBytes * Math.min(NUM_CHECKPOINTS, numCheckpoints),
    timeMs,
    ...(joules === undefined ? {} : { energyJoules: { value: joules, low: joules / spread, high: joules * spread } }),
  };
}

/** Of all arms, one after another. */
export interface ForecastTotal {
  readonly timeMs: number;
  readonly peakMemoryBytes: number;
  readonly diskBytes: number;
}

export function totalOf(arms: readonly ArmForecast[]): ForecastTotal {
  return {
    timeMs: arms.reduce((sum, { timeMs }) => sum + timeMs.value, 0),
    peakMemoryBytes: Math.max(0, ...arms.map(({ peakMemoryBytes = 0 }) => peakMemoryBytes)),
    diskBytes: arms.reduce((sum, { diskBytes }) => sum + diskBytes, 0),
  };
}

/** Limits of a user; absent: none. */
export type Limits = Partial<ForecastTotal>;

/** A change of the experiment and what it would then cost. */
export interface Proposal {
  readonly change: string;
  readonly total: ForecastTotal;
  readonly fits: boolean;
}

export function exceeded(total: ForecastTotal, limits: Limits): readonly (keyof ForecastTotal)[] {
  return (Object.keys(limits) as (keyof ForecastTotal)[]).filter((name) => total[name] > (limits[name] ?? Number.POSITIVE_INFINITY));
}

/** Changes that make a forecast smaller where it exceeds limits, each predicted like the experiment itself; none where it fits. */
export async function proposeChanges(config: ExperimentConfig, engine: TrainingEngine, forecast: Forecast, limits: Limits): Promise<readonly Proposal[]> {
  const total = totalOf(forecast.arms);
  const over = exceeded(total, limits);
  if (over.length === 0) return [];
  const proposals: Proposal[] = [];
  for (const { change, config: changed } of changesOf(config)) {
    const after = totalOf((await forecastExperiment(changed, engine, forecast.measure)).arms);
    if (over.some((name) => after[name] < HELPS * total[name])) proposals.push({ change, total: after, fits: exceeded(after, limits).length === 0 });
  }
  return proposals;
}

interface Change {
  readonly change: string;
  readonly config: ExperimentConfig;
}

function changesOf(config: ExperimentConfig): readonly Change[] {
  const withArms = (change: string, edit: (arm: ArmConfig) => ArmConfig): Change => ({ change, config: { ...config, arms: config.arms.map(edit) } });
  const half = (value: number, least = 1) => Math.max(least, Math.floor(value / 2));
  const maxLength = half(config.data.maxLength, 8);
  return [
    withArms("half of the rounds (training.numRounds)", (arm) => ({ ...arm, training: { ...arm.training, numRounds: half(arm.training.numRounds) } })),
    { change: `shorter samples (data.maxLength=${String(maxLength)})`, config: { ...config, data: { ...config.data, maxLength } } },
    withArms("smaller micro-batches (half of training.microBatchTokens)", (arm) => ({ ...arm, training: { ...arm.training, microBatchTokens: half(arm.training.microBatchTokens, 16) } })),
    withArms("weights in Q4_0 (arms.precisions=[Q4_0])", (arm) => ({ ...arm, precision: "Q4_0" })),
    withArms("half of the adapter's rank (lora.rank)", (arm) => ({ ...arm, lora: { ...arm.lora, rank: half(arm.lora.rank) } })),
  ];
}

/** As the run's database has them; disk is not among them, since no row measures it. */
export function predictionRows(arms: readonly ArmForecast[]): readonly PredictionLine[] {
  return arms.flatMap(({ arm, tokens, uploadBytes, downloadBytes, peakMemoryBytes, timeMs, energyJoules }) => {
    const exact = { tokens, upload_bytes: uploadBytes, download_bytes: downloadBytes, ...(peakMemoryBytes === undefined ? {} : { peak_memory_bytes: peakMemoryBytes }) };
    return [
      ...Object.entries(exact).map(([quantity, value]) => ({ arm, quantity, value, low: null, high: null })),
      { arm, quantity: "duration_ms", ...timeMs },
      ...(energyJoules === undefined ? [] : [{ arm, quantity: "energy_joules", ...energyJoules }]),
    ];
  });
}
