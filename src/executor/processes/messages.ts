/** What the run and its worker processes say to each other through the pipe between them: JSON, checked on both sides. Tensors are files (file-artifacts.ts). */
import { z } from "zod";
import { answerSchema, jobSchema, parseMessage, progressSchema } from "../job.js";

const bytes = z.number().min(0);

/** Everything that a worker process is made with. */
const beginSchema = z.strictObject({
  kind: z.literal("begin"),
  /** Of the artifacts. */
  folder: z.string(),
  numThreads: z.int().min(1),
  device: z.string().optional(),
  hiddenStateCache: z.union([z.enum(["auto", "off"]), z.int().min(1)]),
  source: z.strictObject({ path: z.string() }),
  /** For a device's plan (run/native-engine.ts). */
  memoryRequests: z.array(z.looseObject({ longestSample: z.int(), batchSize: z.int(), microBatchTokens: z.int() })),
});
export type BeginMessage = z.output<typeof beginSchema>;

const toWorker = z.discriminatedUnion("kind", [
  beginSchema,
  z.strictObject({ kind: z.literal("job"), job: jobSchema, modelPath: z.string() }),
  z.strictObject({ kind: z.literal("cancel"), id: z.string() }),
  z.strictObject({ kind: z.literal("ping") }),
]);
export type ToWorker = z.output<typeof toWorker>;

const fromWorker = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("ready"), llamaCppRelease: z.string(), device: z.string() }),
  z.strictObject({ kind: z.literal("unable"), code: z.string(), message: z.string() }),
  z.strictObject({ kind: z.literal("progress"), id: z.string(), progress: progressSchema }),
  z.strictObject({ kind: z.literal("answer"), answer: answerSchema, peakMemoryBytes: bytes }),
  z.strictObject({ kind: z.literal("pong") }),
]);
export type FromWorker = z.output<typeof fromWorker>;

/** Throws WORKER_REFUSED. */
export const parseToWorker = (value: unknown): ToWorker => parseMessage(toWorker, value, "message to a worker");
/** Throws WORKER_REFUSED. */
export const parseFromWorker = (value: unknown): FromWorker => parseMessage(fromWorker, value, "message of a worker");
