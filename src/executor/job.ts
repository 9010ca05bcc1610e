/**
 * What run and worker say to each other about one training: a small message by way of a pipe or a queue, whose tensors are artifacts. Both sides check
 * what they get. A field that TrainRequest or TrainResult gains must be named here, or the types do not fit: a worker that left it out would train
 * something else.
 */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { FrozenAdapter, OptimizerOptions, PreferenceMetrics, PreferenceObjective, TokenizedSample, TrainRequest, TrainResult } from "../federated/local-trainer.js";
import { problemError, type ErrorCode } from "../errors.js";
import { kernelVariantsSchema } from "../run/kernel-variants.js";
import type { TrainJob } from "./executor.js";

/** Changes whenever messages, packs or the meaning of a request do; sides of different versions do not work together. */
export const PROTOCOL_VERSION = 1;

/** Schemas of all fields of a type: one that is missing or too many is an error of types. */
type Fields<T> = { readonly [Name in keyof Required<T>]: z.ZodType };

const floats = z.instanceof(Float32Array);
const doubles = z.instanceof(Float64Array);
const number = z.custom<number>((value) => typeof value === "number", "expected a number");
const count = z.int().min(0);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/u);
const strict = <T>(fields: Fields<T>) => z.strictObject(fields);

const sample = strict<TokenizedSample>({ tokens: z.instanceof(Int32Array), supervised: z.instanceof(Uint8Array), weights: floats.optional() });

const frozenAdapter = strict<FrozenAdapter>({
  rank: count,
  loraAlpha: number,
  targetModules: z.array(z.string()),
  layers: z.array(count).optional(),
  weights: floats,
});

const optimizer = strict<OptimizerOptions>({ beta1: number, beta2: number, epsilon: number, weightDecay: number, maxGradientNorm: number.optional() });

const objective = strict<PreferenceObjective>({ kind: z.literal("dpo"), beta: number, labelSmoothing: number, referenceWeights: floats.optional() });

/** Types only: ranges and lengths are the trainer's to check, as for any request. */
export const requestSchema = strict<Omit<TrainRequest, "onProgress">>({
  weights: floats,
  outer: floats.optional(),
  frozenAdapters: z.array(frozenAdapter).optional(),
  samples: z.array(sample),
  localSteps: count,
  batchSize: count,
  microBatchTokens: count,
  clientLearningRate: number,
  optimizer,
  dropout: number,
  seed: count,
  objective: objective.optional(),
  trainable: z.enum(["both", "a", "b"]).optional(),
  labelSmoothing: number.optional(),
  neftuneAlpha: number.optional(),
  loraPlusRatio: number.optional(),
  lossScale: number.optional(),
  proximal: z.strictObject({ mu: number, anchor: floats }).optional(),
  gradientOffset: floats.optional(),
});

const preferenceMetrics = strict<PreferenceMetrics>({
  rewardMargin: number,
  rewardAccuracy: number,
  chosenReward: number,
  rejectedReward: number,
  chosenLogProbability: number,
  rejectedLogProbability: number,
});

/** What else a trainer says of a result is left out. */
export const resultSchema = z.object({
  weights: floats,
  numSteps: count,
  stepLosses: doubles,
  preferenceSteps: z.array(preferenceMetrics).optional(),
  numSupervisedTokens: count,
  numTokens: count,
  gradientNorms: doubles,
  numScaleHalvings: count.optional(),
  trainDurationMs: number,
  memory: z
    .strictObject({
      microBatchTokens: count,
      recomputes: z.boolean(),
      streams: z.boolean(),
      fellBack: z.boolean(),
      plannedBytes: number,
      plannedPeakBytes: number,
      plannedDeviceBytes: number,
      deviceBytes: number,
    } satisfies Fields<NonNullable<TrainResult["memory"]>>)
    .optional(),
} satisfies Fields<TrainResult>);

/** One attempt at a job. */
export const jobSchema = z.strictObject({
  protocol: z.int(),
  /** Of the attempt: see jobId. */
  id: sha256,
  run: z.string().max(200),
  arm: z.string().max(1000),
  round: count,
  clientId: z.string().max(10_000),
  turn: count,
  /** From 1. An answer to an earlier attempt is dropped. */
  attempt: z.int().min(1),
  llamaCpp: z.string().max(200),
  model: z.strictObject({ sha256, variants: kernelVariantsSchema }),
  lora: z.strictObject({ rank: count, loraAlpha: number, targetModules: z.array(z.string().max(100)).max(100), layers: z.array(count).max(10_000).optional(), dropout: number }),
  layout: sha256,
  /** SHA-256 of the packed request. */
  request: sha256,
});
export type JobMessage = z.output<typeof jobSchema>;

/** What came of an attempt. A failed training is an answer too. */
export const answerSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("result"), id: sha256, result: sha256, arrays: z.array(sha256).max(1000) }),
  z.strictObject({ kind: z.literal("failure"), id: sha256, code: z.string().max(100), message: z.string().max(10_000) }),
]);
export type JobAnswer = z.output<typeof answerSchema>;

/** Steps as they are done; a loss that is not finite has no form in JSON. */
export const progressSchema = z.strictObject({ step: count, localSteps: count, loss: z.number().nullable(), numTokens: count });

/** A message of a job for the packed request of this hash. */
export function makeMessage(job: TrainJob, { run, llamaCpp, attempt, request }: { readonly run: string; readonly llamaCpp: string; readonly attempt: number; readonly request: string }): JobMessage {
  const { place, model, lora, layout } = job;
  const { rank, loraAlpha, targetModules, layers, dropout } = lora;
  const message = {
    protocol: PROTOCOL_VERSION,
    run,
    ...place,
    attempt,
    llamaCpp,
    model: { sha256: model.sha256, variants: model.variants },
    lora: { rank, loraAlpha, targetModules: [...targetModules], dropout, ...(layers === undefined ? {} : { layers: [...layers] }) },
    layout,
    request,
  };
  return { ...message, id: jobId(message) };
}

/**
 * SHA-256 over everything that the attempt is: run, arm, round, client, turn and attempt, and by their hashes model and request. The same attempt has the
 * same id, so a job that is handed in twice is one job; a later attempt has another, so that answers cannot be taken for each other.
 */
export function jobId({ protocol, run, arm, round, clientId, turn, attempt, llamaCpp, model, lora, layout, request }: Omit<JobMessage, "id">): string {
  const { sha256: modelHash, variants } = model;
  const parts = [protocol, run, arm, round, clientId, turn, attempt, llamaCpp, modelHash, variants.weightProduct, variants.transposes];
  const adapter = [lora.rank, lora.loraAlpha, lora.targetModules, lora.layers ?? null, lora.dropout];
  return createHash("sha256").update(JSON.stringify([...parts, adapter, layout, request])).digest("hex");
}

/** A message of the other side, checked. Throws WORKER_REFUSED with the first thing that is wrong. */
export function parseMessage<T>(schema: z.ZodType<T>, value: unknown, subject: string): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw problemError("WORKER_REFUSED", { subject, expected: "a message of this version", received: `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "something else"}` });
}

/** A job message whose id is that of its content. Throws WORKER_REFUSED. */
export function parseJob(value: unknown): JobMessage {
  const version = typeof value === "object" && value !== null && "protocol" in value ? value.protocol : undefined;
  if (version !== PROTOCOL_VERSION) {
    const remedy = "Install the same release of fedllm-native on both sides";
    throw problemError("WORKER_REFUSED", { subject: "job", expected: `protocol version ${String(PROTOCOL_VERSION)}`, received: String(version), remedy });
  }
  const job = parseMessage(jobSchema, value, "job");
  const expected = jobId(job);
  if (job.id !== expected) throw problemError("WORKER_REFUSED", { subject: "job", expected: `id ${expected}, that of its content`, received: job.id });
  return job;
}

/** The request of a pack. Throws WORKER_REFUSED. */
export function parseRequest(value: unknown): Omit<TrainRequest, "onProgress"> {
  return parseMessage(requestSchema, value, "request of a job") as Omit<TrainRequest, "onProgress">;
}

/** The result of a pack. Throws WORKER_REFUSED. */
export function parseResult(value: unknown): TrainResult {
  return parseMessage(resultSchema, value, "result of a job") as TrainResult;
}

/** A worker's error by its code; one of a code that this program does not know counts as a failed training. */
export function codeOf(text: string): ErrorCode {
  return KNOWN_CODES.has(text as ErrorCode) ? (text as ErrorCode) : "TRAIN_FAILED";
}

const KNOWN_CODES: ReadonlySet<ErrorCode> = new Set([
  "CONFIG_INVALID", "DATASET_INVALID", "MODEL_LOAD_FAILED", "MODEL_UNSUPPORTED", "ADAPTER_INVALID", "TRAIN_DIVERGED", "TRAIN_FAILED", "UPDATE_REJECTED",
  "NATIVE_UNAVAILABLE", "NATIVE_MISMATCH", "OUT_OF_MEMORY", "IO_FAILED", "CANCELLED", "WORKER_LOST", "WORKER_REFUSED", "ARTIFACT_INVALID",
]);
