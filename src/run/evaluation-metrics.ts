/** Metrics by name, with what they need beside the model: questions, held-out samples, a judge, a sandbox. */
import type { CodeSandbox, HeldOutParts, Judge, Metric, MetricSource } from "../benchmarks/metric.js";
import { findMetricSource } from "../benchmarks/metrics/registry.js";
import type { JudgeConfig } from "../config/judge.js";
import { problemError } from "../errors.js";
import type { SandboxBackendName } from "../sandbox/names.js";

/** Which metrics, and how they are to be made. */
export interface MetricRequest {
  readonly metrics: readonly string[];
  /** Items of each metric, drawn with the seed; absent: all. */
  readonly limit?: number | undefined;
  readonly seed: number;
  /** Question file by metric. */
  readonly questions?: Readonly<Record<string, string>> | undefined;
  /** Settings by metric. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, unknown>>>> | undefined;
  readonly judge?: JudgeConfig | undefined;
  /** The user's consent to the running of programs that a model wrote. */
  readonly allowCodeExecution: boolean;
  /** Default: auto. */
  readonly sandbox?: SandboxBackendName | undefined;
  /** A wrapper of the user's own instead of a sandbox of ours: program and arguments before `python3 …`. */
  readonly sandboxCommand?: readonly string[] | undefined;
}

/** Ready to be asked. */
export interface OpenMetrics {
  readonly metrics: readonly Metric[];
  readonly judge?: Judge;
  readonly sandbox?: CodeSandbox;
  dispose(): Promise<void>;
}

/**
 * Makes the metrics and opens what they need; the caller disposes of it. Throws CONFIG_INVALID for unknown names and for a metric
 * that needs a judge without one, CODE_EXECUTION_REFUSED without consent, and whatever reading questions throws.
 */
export async function openMetrics(request: MetricRequest, readHeldOut: (() => Promise<HeldOutParts>) | undefined): Promise<OpenMetrics> {
  const sources = sourcesOf(request);
  const heldOut = readHeldOut !== undefined && sources.some(({ usesHeldOut, name }) => usesHeldOut === true && request.questions?.[name] === undefined) ? await readHeldOut() : undefined;
  const metrics: Metric[] = [];
  for (const source of sources) {
    const file = request.questions?.[source.name];
    metrics.push(
      await source.create({
        seed: request.seed,
        settings: request.options?.[source.name] ?? {},
        ...(file === undefined ? {} : { file }),
        ...(request.limit === undefined ? {} : { limit: request.limit }),
        ...(heldOut === undefined ? {} : { heldOut }),
      }),
    );
  }
  const judge = request.judge === undefined ? undefined : await openJudge(request.judge);
  try {
    const sandbox = sources.some(({ needs }) => needs.sandbox === true) ? await openSandboxOf(request) : undefined;
    return {
      metrics,
      ...(judge === undefined ? {} : { judge }),
      ...(sandbox === undefined ? {} : { sandbox }),
      dispose: async () => {
        await Promise.all([judge?.dispose(), sandbox?.dispose()]);
      },
    };
  } catch (error) {
    await judge?.dispose();
    throw error;
  }
}

/** Throws CONFIG_INVALID for what can be known to be wrong before anything is read. */
export function sourcesOf({ metrics, questions = {}, options = {}, judge }: MetricRequest): readonly MetricSource[] {
  const sources = [...new Set(metrics)].map(findMetricSource);
  for (const name of [...Object.keys(questions), ...Object.keys(options)]) {
    if (metrics.includes(name)) continue;
    throw problemError("CONFIG_INVALID", { subject: "questions and options of metrics", expected: `one of the metrics asked for (${metrics.join(", ")})`, received: name });
  }
  for (const { name, needs } of sources) {
    if (needs.judge !== true || judge !== undefined) continue;
    throw problemError("CONFIG_INVALID", { subject: `metric ${name}`, expected: "a judge, which grades the answers", received: "none", remedy: "Name an endpoint with --judge-url and --judge-model, or a file with --judge-gguf" });
  }
  return sources;
}

async function openSandboxOf({ allowCodeExecution, sandbox, sandboxCommand }: MetricRequest) {
  const { openSandbox } = await import("../sandbox/open-sandbox.js");
  return openSandbox({ allowed: allowCodeExecution, ...(sandbox === undefined ? {} : { backend: sandbox }), ...(sandboxCommand === undefined ? {} : { command: sandboxCommand }) });
}

async function openJudge(config: JudgeConfig) {
  const { createJudge } = await import("../judge/create-judge.js");
  return createJudge(config);
}
