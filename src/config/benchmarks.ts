/** The metrics that a run is judged by while it goes: which, when, and with which questions and judge. */
import { z } from "zod";
import { SANDBOX_BACKENDS } from "../sandbox/names.js";
import { judgeSchema } from "./judge.js";

const count = () => z.int().min(1).max(1_000_000);

export const benchmarksSchema = z.strictObject({
  metrics: z.array(z.string().min(1)).min(1).describe("by name, as `eval metrics` lists them"),
  everyRounds: count().optional().describe("after every so many rounds, whose common adapter is kept; default: not between rounds"),
  atEnd: z.boolean().default(true).describe("after the last round of each arm"),
  base: z.boolean().default(true).describe("the base models too, once each"),
  maxClients: z
    .int()
    .min(0)
    .max(1_000_000)
    .default(4)
    .describe("of an arm without a common adapter, so many clients' adapters, evenly spaced"),
  limit: count().optional().describe("at most so many items of each metric, drawn by the seed; default: all"),
  contextLength: z.int().min(16).max(1_000_000).optional().describe("tokens of prompt and answer; default: 2048, at most the model's own"),
  maxSequences: count().optional().describe("answers that are written at once; default: 8"),
  questions: z.record(z.string(), z.string().min(1)).optional().describe("question files by metric, instead of the known sets"),
  options: z.record(z.string(), z.record(z.string(), z.unknown())).optional().describe("options by metric"),
  judge: judgeSchema.optional().describe("who grades answers, for metrics that need it"),
  allowCodeExecution: z.boolean().default(false).describe("run programs that the model writes, in a sandbox on this machine"),
  sandbox: z.enum(SANDBOX_BACKENDS).default("auto").describe("what runs them"),
});

export type BenchmarksConfig = z.output<typeof benchmarksSchema>;
