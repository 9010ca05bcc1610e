/**
 * Held-out evaluation of one arm: of the adapters of a round, and once per base model of what training begins with.
 * Metrics are src/evaluation; here they get the arm's settings and become rows.
 */
import { seedOf } from "../config/schema.js";
import type { ArmConfig, DpoConfig } from "../config/schema.js";
import {
  evaluateGlobal,
  evaluateGlobalPairs,
  evaluateGroups,
  evaluateGroupsPairs,
  evaluatePersonal,
  evaluatePersonalPairs,
  scoreReference,
} from "../evaluation/held-out.js";
import type { EvaluationContext as HeldOutContext, PairEvaluationContext } from "../evaluation/held-out.js";
import { makeWeightOfInput, type InputWeights } from "../evaluation/input-weights.js";
import type { PairScore } from "../evaluation/preference.js";
import type { FrozenAdapter, LocalTrainer } from "../federated/local-trainer.js";
import type { AdapterSet, ByInput } from "../federated/protocol.js";
import type { Evaluate, EvaluationContext, EvaluationRecord } from "../federated/records.js";
import { PythonRandom } from "../data/python-random.js";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { deriveSeed } from "../util/random.js";
import type { ArmSetup } from "./arm.js";
import type { OpenEmulator } from "./emulator.js";
import type { OpenBaseModel } from "./engine.js";
import { asSaved } from "./saved-types.js";
import type { StartAdapter } from "./start-adapter.js";

/** Metrics of everything, of one client or of a group, by the names under which they are stored. */
export interface MetricRow {
  readonly clientId?: string;
  readonly group?: string;
  readonly metrics: Readonly<Record<string, number>>;
}

/** The suffix of metrics of adapters that were fine-tuned after the last round. */
export const FINE_TUNED = "finetuned";

/** Judges an adapter of a client by the client's own held-out data; no rows for a client without any. */
export type EvaluateOwn = (
  clientId: string,
  weights: Float32Array,
  frozen: readonly FrozenAdapter[] | undefined,
) => Promise<readonly EvaluationRecord[]>;

/** For the adapters that clients have after fine-tuning. */
export function makeOwnEvaluation(setup: ArmSetup, arm: ArmConfig, trainer: LocalTrainer, start: StartAdapter | undefined): EvaluateOwn {
  const { samples, own } = setup.data.heldOut;
  return async (clientId, weights, frozen) => {
    const positions = own.get(clientId);
    if (positions === undefined) return [];
    const heldOut = { samples, overall: [], own: new Map([[clientId, positions]]) };
    const quiet: ArmSetup = { ...setup, data: { ...setup.data, heldOut }, emit: () => undefined };
    const context: EvaluationContext = {
      round: arm.training.numRounds,
      isLastRound: true,
      adapters: { kind: "perClient", weights: new Map([[clientId, weights]]), ...(frozen === undefined ? {} : { frozen }) },
      ...(setup.signal === undefined ? {} : { signal: setup.signal }),
    };
    const rows = await evaluateAdapters(quiet, arm, trainer, start, context);
    return rows.map((row) => withSuffix(row, FINE_TUNED)).flatMap(toRecords);
  };
}

/** Results that arms with the same base model share; filled as arms need them. */
export interface SharedResults {
  /** Of what training begins with, by model, adapter's shape and start adapter. */
  readonly start: Map<string, readonly MetricRow[]>;
  /** Log-probabilities of the held-out pairs under a reference policy, by model and policy. */
  readonly reference: Map<string, readonly PairScore[]>;
}

/** Where adapters are judged: on the base model in each precision, and in the emulator that clients have. */
export interface ArmTrainers {
  readonly trainers: ReadonlyMap<string, LocalTrainer>;
  readonly emulator?: Pick<OpenEmulator, "trainer" | "sha256"> | undefined;
  /** Of the arm's own precision; writes the files of `evaluation.adapterTypes`. */
  readonly base?: OpenBaseModel;
}

/** The evaluation of an arm's rounds; round 0 is what training begins with. */
export function makeArmEvaluation(
  setup: ArmSetup,
  arm: ArmConfig,
  { trainers, emulator, base }: ArmTrainers,
  start: StartAdapter | undefined,
): Evaluate {
  const trainer = trainers.get(arm.precision);
  assert(trainer !== undefined, "the arm's own precision has a trainer");
  const key = JSON.stringify([arm.precision, arm.lora, arm.training.microBatchTokens, arm.training.dpo, start?.sha256]);
  return async (context) => {
    // B starts at zero, so a fresh adapter gives the base model's own results: they are computed once per model.
    const known = context.round === 0 ? setup.shared.start.get(key) : undefined;
    const rows = known ?? (await evaluateAdapters(setup, arm, trainer, start, context));
    if (context.round === 0) setup.shared.start.set(key, rows);
    const others = trainers.size > 1 && context.isLastRound ? await rowsByPrecision(setup, arm, trainers, start, context) : [];
    const emulated = emulator === undefined ? [] : await rowsOnEmulator(setup, arm, emulator, start, context);
    const saved = base !== undefined && context.isLastRound ? await rowsAsSaved(setup, arm, base, start, context) : [];
    return [...rows, ...others, ...emulated, ...saved].flatMap(toRecords);
  };
}

/** What the adapter is worth in the model that clients have: `metric@emulator`, beside the plain names of the full model. */
async function rowsOnEmulator(
  setup: ArmSetup,
  arm: ArmConfig,
  { trainer, sha256 }: Pick<OpenEmulator, "trainer" | "sha256">,
  start: StartAdapter | undefined,
  context: EvaluationContext,
): Promise<readonly MetricRow[]> {
  // References are shared by precision, and this is another model.
  const apart = `${arm.precision} emulator ${sha256}` as ArmConfig["precision"];
  const { frozen = [], inEmulator = [] } = context.adapters;
  const adapters = inEmulator.length === 0 ? context.adapters : { ...context.adapters, frozen: [...frozen, ...inEmulator] };
  const rows = await evaluateAdapters(setup, { ...arm, precision: apart }, trainer, start, { ...context, adapters });
  return rows.map((row) => withSuffix(row, "emulator"));
}

/** What the adapter of a federation of mixed precision is worth on each base model: `metric@precision`. */
async function rowsByPrecision(
  setup: ArmSetup,
  arm: ArmConfig,
  trainers: ReadonlyMap<string, LocalTrainer>,
  start: StartAdapter | undefined,
  context: EvaluationContext,
): Promise<readonly MetricRow[]> {
  const rows: MetricRow[] = [];
  for (const [precision, trainer] of trainers) {
    const metrics = await evaluateOn(setup, arm, { precision, trainer }, start, context);
    if (metrics === undefined) continue;
    rows.push(withSuffix({ metrics }, precision));
  }
  return rows;
}

/** What the adapter is worth as a file of fewer bits holds it: `metric@type-file`. */
async function rowsAsSaved(setup: ArmSetup, arm: ArmConfig, base: OpenBaseModel, start: StartAdapter | undefined, context: EvaluationContext): Promise<readonly MetricRow[]> {
  const rows: MetricRow[] = [];
  for (const type of setup.config.evaluation.adapterTypes ?? []) {
    const { lora, adapters } = await asSaved(base, arm.lora, context.adapters, type);
    const judged = await evaluateOn(setup, { ...arm, lora }, { precision: arm.precision, trainer: base.trainer(lora) }, start, { ...context, adapters });
    if (judged !== undefined) rows.push(withSuffix({ metrics: judged }, `${type}-file`));
  }
  return rows;
}

/** Overall metrics of adapters on a base model of any precision; undefined without held-out samples of everybody. */
export async function evaluateOn(
  setup: ArmSetup,
  arm: ArmConfig,
  { precision, trainer }: { readonly precision: string; readonly trainer: LocalTrainer },
  start: StartAdapter | undefined,
  context: EvaluationContext,
): Promise<Readonly<Record<string, number>> | undefined> {
  // References are shared by precision, so each is computed on its own base model.
  const rows = await evaluateAdapters(setup, { ...arm, precision: precision as ArmConfig["precision"] }, trainer, start, context);
  return rows.find(({ clientId, group }) => clientId === undefined && group === undefined)?.metrics;
}

async function evaluateAdapters(
  setup: ArmSetup,
  arm: ArmConfig,
  trainer: LocalTrainer,
  start: StartAdapter | undefined,
  { round, adapters, signal }: EvaluationContext,
): Promise<readonly MetricRow[]> {
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
  const { localSampleStride } = setup.config.evaluation;
  const { dpo } = arm.training;
  // References are policies of their own, without what stands beside this arm's adapters.
  const pairs = dpo === undefined ? undefined : await pairContext(setup, arm, dpo, start, context);
  const judge = async (set: AdapterSet) => {
    const frozen = {
      ...(set.frozen === undefined ? {} : { frozenAdapters: set.frozen }),
      ...(set.kind === "perClient" && set.byInput !== undefined ? { inputWeights: inputWeightsOf(setup, seedOf(setup.config, arm), context, set.byInput) } : {}),
    };
    if (pairs !== undefined) return (await evaluatePairs({ ...pairs, ...frozen }, set, localSampleStride)).map(named);
    return (await evaluateSamples({ ...context, ...frozen }, set, localSampleStride)).map(named);
  };
  const rows = await judge(adapters);
  if (adapters.kind !== "perClient" || adapters.shared === undefined) return rows;
  return [...rows, ...(await judge(adapters.shared)).map((row) => withSuffix(row, "shared"))];
}

/** The client's training inputs that held-out ones are compared with are drawn by the seed. Throws CONFIG_INVALID for a trainer without hidden states. */
function inputWeightsOf({ data }: ArmSetup, armSeed: number, { trainer, heldOut, microBatchTokens, signal }: HeldOutContext, { numSamples, globalWeight }: ByInput): InputWeights {
  const represent = trainer.represent?.bind(trainer);
  if (represent === undefined) {
    throw problemError("CONFIG_INVALID", { subject: "strategyOptions.similaritySamples", expected: "a trainer that gives hidden states", received: "one that does not" });
  }
  const clients = new Map(data.clients.map((client) => [client.id, client]));
  const trainingInputs = (clientId: string) => {
    const client = clients.get(clientId);
    assert(client !== undefined, "an adapter is of a client that takes part");
    const seed = deriveSeed(armSeed, "similarity samples", clientId);
    return client.readSamples(new PythonRandom(seed).sample(client.numSamples, Math.min(numSamples, client.numSamples)));
  };
  const weightOf = makeWeightOfInput((inputs) => represent(inputs, microBatchTokens, signal), heldOut.samples, trainingInputs);
  return { globalWeight, weightOf };
}

/** Metrics of another adapter or another base model than the rows that go by the plain names: `metric@suffix`. */
function withSuffix(row: MetricRow, suffix: string): MetricRow {
  return { ...row, metrics: Object.fromEntries(Object.entries(row.metrics).map(([metric, value]) => [`${metric}@${suffix}`, value])) };
}

/** A reference that changes from round to round would measure nothing that rounds can be compared by; the base stands in for it. */
async function pairContext(
  setup: ArmSetup,
  arm: ArmConfig,
  dpo: DpoConfig,
  start: StartAdapter | undefined,
  context: HeldOutContext,
): Promise<PairEvaluationContext> {
  const adapter = dpo.reference === "start" ? start : undefined;
  const key = JSON.stringify([arm.precision, arm.training.microBatchTokens, adapter?.sha256]);
  const reference = setup.shared.reference.get(key) ?? (await scoreReference(context, adapter?.weights));
  setup.shared.reference.set(key, reference);
  return { ...context, reference, loss: dpo };
}

function evaluateSamples(context: HeldOutContext, adapters: AdapterSet, stride: number) {
  switch (adapters.kind) {
    case "global":
      return evaluateGlobal(context, adapters.weights);
    case "perGroup":
      return evaluateGroups(context, adapters.weights, stride);
    case "perClient":
      return evaluatePersonal(context, adapters.weights, stride);
  }
}

function evaluatePairs(context: PairEvaluationContext, adapters: AdapterSet, stride: number) {
  switch (adapters.kind) {
    case "global":
      return evaluateGlobalPairs(context, adapters.weights);
    case "perGroup":
      return evaluateGroupsPairs(context, adapters.weights, stride);
    case "perClient":
      return evaluatePersonalPairs(context, adapters.weights, stride);
  }
}

function named({ metrics, ...whose }: { readonly clientId?: string; readonly group?: string; readonly metrics: object }): MetricRow {
  return { ...whose, metrics: { ...metrics } };
}

function toRecords(row: MetricRow): EvaluationRecord[] {
  const { metrics, ...whose } = row;
  return Object.entries(metrics).map(([metric, value]) => ({ ...whose, metric, value }));
}
