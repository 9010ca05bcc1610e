/**
 * The result of a run as one table: precision by {base, each arm}. Every number is a query over metrics.sqlite; this
 * file arranges them and writes summary.md. The command line prints the same rows.
 */
import { z } from "zod";
import { strategyLabel } from "../config/strategy-file.js";
import type { MetricsDatabase } from "../metrics/database.js";
import { AGGREGATION_ERROR } from "../adapter/aggregation-error.js";
import { evaluationsByArm, meanMeasure, run, totals } from "../metrics/queries.js";
import type { EvaluationLine } from "../metrics/queries.js";
import type { RunPaths } from "../run/run-folder.js";
import type { RunRecord } from "../run/run-record.js";
import { writeFileAtomic } from "../util/atomic-file.js";
import { formatBytes, formatCount, formatDuration, formatMarkdownTable, formatPercent, formatTable } from "./format.js";
import type { Column } from "./format.js";

/** One line of the table; what was not measured is absent. */
export interface SummaryRow {
  readonly precision: string;
  /** `base`, a strategy, or the arm's own name where it has one. */
  readonly adapter: string;
  /** Per supervised token, on the overall held-out set. */
  readonly heldOutLoss?: number;
  readonly exactMatch?: number;
  /** Held-out loss minus that of the same adapter at the reference precision. */
  readonly lossAgainstReference?: number;
  readonly weightBytes: number;
  readonly peakMemoryBytes?: number;
  /** Computed tokens per second of training. */
  readonly tokensPerSecond?: number;
  /** Client to server, mean over clients and rounds. */
  readonly uploadBytes?: number;
  /** Relative distance of the adapter from the mean of the clients' products, mean over rounds. */
  readonly aggregationError?: number;
}

export interface Summary {
  /** Precision that losses are compared with; absent when no arm has an unquantized one. */
  readonly reference?: string;
  readonly rows: readonly SummaryRow[];
}

/** The only fields of the stored configuration that the table needs. */
const storedConfigSchema = z.object({
  arms: z.array(z.object({ name: z.string(), precision: z.string(), strategy: z.string() })),
});

interface ArmFacts {
  readonly name: string;
  readonly precision: string;
  readonly strategy: string;
  readonly weightBytes: number;
}

/** Precisions that count as the undisturbed model, best known first. */
const REFERENCE_PRECISIONS = ["F16", "F32", "BF16", "source"];

/** Reads the table of a run; arms that have not begun are left out. */
export function summarizeRun(database: MetricsDatabase): Summary {
  const arms = armsOf(database);
  const precisions = [...new Set(arms.map((arm) => arm.precision))];
  const reference = REFERENCE_PRECISIONS.find((precision) => precisions.includes(precision));
  const rows = precisions.flatMap((precision) => {
    const mine = arms.filter((arm) => arm.precision === precision);
    return [...baseRow(database, mine), ...mine.map((arm) => armRow(database, arm))];
  });
  if (reference === undefined) return { rows };
  return { reference, rows: rows.map((row) => withDifference(row, rows, reference)) };
}

function armsOf(database: MetricsDatabase): ArmFacts[] {
  const stored = run(database);
  if (stored === undefined) return [];
  const config = storedConfigSchema.parse(JSON.parse(stored.configJson));
  const begun = database
    .prepare<[], { name: string; weightBytes: number }>(
      "SELECT name, model_weight_bytes AS weightBytes FROM arms ORDER BY arm_index",
    )
    .all();
  return begun.flatMap(({ name, weightBytes }) => {
    const arm = config.arms.find((candidate) => candidate.name === name);
    return arm === undefined ? [] : [{ ...arm, strategy: strategyLabel(arm.strategy), weightBytes }];
  });
}

/** The base model alone was measured before round 1 of any arm of its precision. */
function baseRow(database: MetricsDatabase, arms: readonly ArmFacts[]): SummaryRow[] {
  for (const arm of arms) {
    const before = evaluationsByArm(database, arm.name).filter((line) => line.round === 0);
    if (before.length === 0) continue;
    return [{ precision: arm.precision, adapter: "base", weightBytes: arm.weightBytes, ...overall(before) }];
  }
  return [];
}

function armRow(database: MetricsDatabase, arm: ArmFacts): SummaryRow {
  const lines = evaluationsByArm(database, arm.name).filter((line) => line.round > 0);
  const lastRound = Math.max(...lines.map((line) => line.round));
  const sums = totals(database, arm.name);
  const aggregationError = meanMeasure(database, arm.name, AGGREGATION_ERROR);
  const isPlainName = arm.name === `${arm.precision.toLowerCase()}-${arm.strategy}`;
  return {
    precision: arm.precision,
    adapter: isPlainName ? arm.strategy : arm.name,
    weightBytes: arm.weightBytes,
    ...overall(lines.filter((line) => line.round === lastRound)),
    ...(sums.peakMemoryBytes === null ? {} : { peakMemoryBytes: sums.peakMemoryBytes }),
    ...(sums.tokensPerSecond === null ? {} : { tokensPerSecond: sums.tokensPerSecond }),
    ...(sums.numClientRounds === 0 ? {} : { uploadBytes: sums.uploadBytes / sums.numClientRounds }),
    ...(aggregationError === null ? {} : { aggregationError }),
  };
}

function overall(lines: readonly EvaluationLine[]): { heldOutLoss?: number; exactMatch?: number } {
  const valueOf = (metric: string) => lines.find((line) => line.clientId === null && line.metric === metric)?.value;
  const heldOutLoss = valueOf("heldout_loss") ?? undefined;
  const exactMatch = valueOf("heldout_exact_match") ?? undefined;
  return {
    ...(heldOutLoss === undefined ? {} : { heldOutLoss }),
    ...(exactMatch === undefined ? {} : { exactMatch }),
  };
}

function withDifference(row: SummaryRow, rows: readonly SummaryRow[], reference: string): SummaryRow {
  const other = rows.find((candidate) => candidate.precision === reference && candidate.adapter === row.adapter);
  if (row.heldOutLoss === undefined || other?.heldOutLoss === undefined) return row;
  return { ...row, lossAgainstReference: row.heldOutLoss - other.heldOutLoss };
}

/** Lines of the table for a terminal. */
export function formatSummary(summary: Summary): string[] {
  return formatTable(summaryColumns(summary), summary.rows.map((row) => summaryCells(row, summary)));
}

function summaryColumns(summary: Summary): Column[] {
  const numbers = [
    "held-out loss",
    "exact match",
    `loss vs ${summary.reference ?? "F16"}`,
    "weights",
    "peak memory",
    "tokens/s",
    "sent per client and round",
    ...(hasAggregationError(summary) ? ["aggregation error"] : []),
  ];
  return [{ title: "precision" }, { title: "adapter" }, ...numbers.map((title) => ({ title, align: "right" as const }))];
}

function hasAggregationError({ rows }: Summary): boolean {
  return rows.some(({ aggregationError }) => aggregationError !== undefined);
}

function summaryCells(row: SummaryRow, summary: Summary): string[] {
  const cell = (value: number | undefined, format: (value: number) => string) => (value === undefined ? "-" : format(value));
  return [
    row.precision,
    row.adapter,
    cell(row.heldOutLoss, (value) => value.toFixed(4)),
    cell(row.exactMatch, formatPercent),
    cell(row.lossAgainstReference, (value) => `${value < 0 ? "" : "+"}${value.toFixed(4)}`),
    formatBytes(row.weightBytes),
    cell(row.peakMemoryBytes, formatBytes),
    cell(row.tokensPerSecond, formatCount),
    cell(row.uploadBytes, formatBytes),
    ...(hasAggregationError(summary) ? [cell(row.aggregationError, (value) => value.toExponential(1))] : []),
  ];
}

/** What the columns mean, below the table. */
export function summaryNotes(record: RunRecord): string[] {
  const peak =
    record.machine.peakMemoryScope === "arm"
      ? "Peak memory is the largest resident size of the process while the arm trained, mapped weights included."
      : "Peak memory is the largest resident size of the process so far, as this system cannot tell arms apart.";
  return [
    "Held-out loss is the mean over supervised tokens of the overall held-out set; exact match counts samples of which " +
      "every answer token is the most likely one given the right tokens before it, as greedy decoding would reproduce them.",
    "Aggregation error is the distance of the global adapter from the mean of the clients' products B A, relative to that mean: " +
      "0 for exact aggregation. It is the mean over rounds; the rows of round_measures have it by round and layer.",
    "The local rows are means over the clients' own adapters on the same overall set.",
    peak,
  ];
}

/** Writes summary.md. */
export async function writeSummary(database: MetricsDatabase, paths: RunPaths, record: RunRecord): Promise<void> {
  await writeFileAtomic(paths.summary, `${describeRun(database, record).join("\n")}\n`);
}

function describeRun(database: MetricsDatabase, record: RunRecord): string[] {
  const summary = summarizeRun(database);
  const arms = armsOf(database).map((arm) => ({ ...arm, sums: totals(database, arm.name) }));
  const right = (title: string): Column => ({ title, align: "right" });
  return [
    `# ${record.name}`,
    "",
    ...formatMarkdownTable(summaryColumns(summary), summary.rows.map((row) => summaryCells(row, summary))),
    "",
    ...summaryNotes(record).map((note) => `- ${note}`),
    "",
    "## Arms",
    "",
    ...formatMarkdownTable(
      [{ title: "arm" }, ...["rounds", "client rounds", "failures", "tokens", "sent up", "sent down", "time"].map(right)],
      arms.map(({ name, sums }) => [
        name,
        String(sums.numRounds),
        String(sums.numClientRounds),
        String(sums.numFailures),
        formatCount(sums.numTokens),
        formatBytes(sums.uploadBytes),
        formatBytes(sums.downloadBytes),
        formatDuration(sums.durationMs),
      ]),
    ),
    "",
    "## Origin",
    "",
    `- Seed ${String(record.seed)}, started ${record.startedAt}, configuration in config.resolved.yaml.`,
    `- fedllm-native ${record.versions.fedllmNative}, Node ${record.versions.node}, node-llama-cpp ${record.versions.nodeLlamaCpp}, llama.cpp ${record.versions.llamaCpp}.`,
    `- ${record.machine.platform} ${record.machine.architecture}, ${record.machine.cpu}, ${String(record.machine.numThreads)} threads, device ${record.machine.device}.`,
    ...(record.git === undefined ? [] : [`- Git commit ${record.git.commit}${record.git.hasChanges ? " with changes" : ""}.`]),
    ...Object.entries(record.hashes).map(([role, hash]) => `- SHA-256 of ${role}: ${hash}`),
  ];
}
