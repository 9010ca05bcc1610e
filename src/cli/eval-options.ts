/** Flags of `eval` -> what is to be judged and how. */
import type { InferredOptionTypes } from "yargs";
import type { JudgeConfig } from "../config/judge.js";
import type { EvaluateRequest } from "../run/evaluate.js";
import { problemError } from "../errors.js";
import type { EvalArguments } from "./commands/eval.js";

export const judgeOptions = {
  "judge-url": { type: "string", requiresArg: true, describe: "OpenAI-compatible endpoint of the judge, for example http://127.0.0.1:8080/v1" },
  "judge-model": { type: "string", requiresArg: true, describe: "model that the judge's endpoint is asked for" },
  "judge-gguf": { type: "string", requiresArg: true, describe: "GGUF file of a local judge, instead of an endpoint" },
  "judge-key-env": { type: "string", requiresArg: true, describe: "environment variable that holds the judge's key" },
  "judge-option": { type: "string", array: true, nargs: 1, requiresArg: true, describe: "KEY=VALUE: any field of evaluation.benchmarks.judge, may be repeated" },
} as const;

/** Throws CONFIG_INVALID for numbers out of range and pairs that cannot be read. */
export async function readEvalSettings(values: EvalArguments): Promise<EvaluateRequest> {
  const { target, arm, client, precision, base, out, device, template } = values;
  const { round, limit, seed, context, sequences, threads, model } = values;
  for (const [name, value, minimum] of [["round", round, 1], ["limit", limit, 1], ["seed", seed, 0], ["context", context, 16], ["sequences", sequences, 1], ["threads", threads, 1]] as const) {
    if (value === undefined || (Number.isSafeInteger(value) && value >= minimum)) continue;
    throw problemError("CONFIG_INVALID", { subject: `--${name}`, expected: `a whole number of at least ${String(minimum)}`, received: String(value) });
  }
  const judge = await readJudge(values);
  return {
    ...{ target, model, base, out, device, template, round, limit, seed },
    arms: arm?.length === 1 && arm[0] === "none" ? [] : arm,
    clients: client,
    precisions: precision,
    contextLength: context,
    maxSequences: sequences,
    numThreads: threads,
    metrics: values.metrics.split(",").map((name) => name.trim()).filter((name) => name !== ""),
    questions: Object.fromEntries((values.questions ?? []).map((text) => splitPair(text, "--questions", "METRIC=FILE"))),
    options: readMetricOptions(values["metric-option"] ?? []),
    allowCodeExecution: values["allow-code-execution"],
    sandbox: values.sandbox,
    sandboxCommand: values["sandbox-command"],
    ...(judge === undefined ? {} : { judge }),
  };
}

export type JudgeArguments = InferredOptionTypes<typeof judgeOptions>;

/** Undefined where no flag names a judge. Throws CONFIG_INVALID. */
export async function readJudge(values: JudgeArguments): Promise<JudgeConfig | undefined> {
  const fields = [
    ["baseUrl", values["judge-url"]],
    ["model", values["judge-model"]],
    ["gguf", values["judge-gguf"]],
    ["apiKeyEnv", values["judge-key-env"]],
    ...(values["judge-option"] ?? []).map((text) => {
      const [key, value] = splitPair(text, "--judge-option", "KEY=VALUE");
      return [key, parseValue(value)] as const;
    }),
  ].filter(([, value]) => value !== undefined);
  if (fields.length === 0) return undefined;
  const { judgeSchema } = await import("../config/judge.js");
  const parsed = judgeSchema.safeParse(Object.fromEntries(fields) as unknown);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw problemError("CONFIG_INVALID", { subject: `judge ${issue?.path.join(".") ?? ""}`.trim(), expected: "an endpoint with --judge-url and --judge-model or a file with --judge-gguf, and known options", received: issue?.message ?? "something else" });
}

function readMetricOptions(texts: readonly string[]): Record<string, Record<string, unknown>> {
  const options: Record<string, Record<string, unknown>> = {};
  for (const text of texts) {
    const [path, value] = splitPair(text, "--metric-option", "METRIC.KEY=VALUE");
    const dot = path.indexOf(".");
    if (dot <= 0 || dot === path.length - 1) throw problemError("CONFIG_INVALID", { subject: "--metric-option", expected: "METRIC.KEY=VALUE", received: text });
    const metric = path.slice(0, dot);
    options[metric] = { ...options[metric], [path.slice(dot + 1)]: parseValue(value) };
  }
  return options;
}

function splitPair(text: string, subject: string, expected: string): readonly [string, string] {
  const split = text.indexOf("=");
  if (split > 0 && split < text.length - 1) return [text.slice(0, split), text.slice(split + 1)];
  throw problemError("CONFIG_INVALID", { subject, expected, received: text });
}

/** JSON where it is, otherwise the text itself. */
function parseValue(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
}
