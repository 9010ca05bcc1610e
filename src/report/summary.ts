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
import { groupTable, linesByGroup, type GroupLine } from "./by-group.js";
import { emulatorTable, linesOfEmulators, type EmulatorLine } from "./emulated.js";
import { linesOfPersonal, personalTable, type PersonalLine } from "./personal.js";
import { linesByPrecision, precisionTable, type PrecisionLine } from "./by-precision.js";
import { linesOfPredictions, predictionTable, type OutcomeLine } from "./predicted.js";
import { rowsOfTransfer, transferTable, type TransferRow } from "./transfer.js";
import { timeToQuality, timeToQualityTable, type TimeToQuality } from "./time-to-quality.js";

/** Quality on the overall held-out set, by the metric it is stored under. */
const QUALITY_METRICS = {
  heldOutLoss: "heldout_loss",
  exactMatch: "heldout_exact_match",
  dpoLoss: "heldout_dpo_loss",
  rewardAccuracy: "heldout_reward_accuracy",
  rewardMargin: "heldout_reward_margin",
  rankingAccuracy: "heldout_ranking_accuracy",
} as const;

type Quality = Pick<SummaryRow, keyof typeof QUALITY_METRICS>;

/** One line of the table; what was not measured is absent. */
export interface SummaryRow {
  readonly precision: string;
  /** `base` (or `start`, the start adapter), a strategy, or the arm's own name where it has one. */
  readonly adapter: string;
  /** Per supervised token. */
  readonly heldOutLoss?: number;
  readonly exactMatch?: number;
  /** Of preference training, per pair; the next ones too. */
  readonly dpoLoss?: number;
  /** Part of the pairs whose chosen answer has the higher reward. */
  readonly rewardAccuracy?: number;
  readonly rewardMargin?: number;
  /** Part of the pairs whose chosen answer is the more probable one. */
  readonly rankingAccuracy?: number;
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
  /** Absent without a simulated clock. */
  readonly timeToQuality?: TimeToQuality;
  /** Absent without arms of mixed precision. */
  readonly byPrecision?: readonly PrecisionLine[];
  /** Absent without groups of clients. */
  readonly byGroup?: readonly GroupLine[];
  /** Absent when no client has an adapter of its own beside a common one. */
  readonly personal?: readonly PersonalLine[];
  /** Absent when all clients train on the full model. */
  readonly emulated?: readonly EmulatorLine[];
  /** Absent when adapters were judged on their own precision only. */
  readonly transfer?: readonly TransferRow[];
  /** Absent where nothing was predicted. */
  readonly predicted?: readonly OutcomeLine[];
}

/** The only fields of the stored configuration that the table needs. */
const storedConfigSchema = z.object({
  arms: z.array(z.object({ name: z.string(), precision: z.string(), strategy: z.string() })),
  training: z.object({ startAdapter: z.string().optional() }).optional(),
});

interface ArmFacts {
  readonly name: string;
  readonly precision: string;
  readonly strategy: string;
  readonly weightBytes: number;
  readonly hasStartAdapter: boolean;
}

/** Precisions that count as the undisturbed model, best known first. */
export const REFERENCE_PRECISIONS = ["F16", "F32", "BF16", "source"];

/** Reads the table of a run; arms that have not begun are left out. */
export function summarizeRun(database: MetricsDatabase): Summary {
  const arms = armsOf(database);
  const precisions = [...new Set(arms.map((arm) => arm.precision))];
  const reference = REFERENCE_PRECISIONS.find((precision) => precisions.includes(precision));
  const rows = precisions.flatMap((precision) => {
    const mine = arms.filter((arm) => arm.precision === precision);
    return [...baseRow(database, mine), ...mine.map((arm) => armRow(database, arm))];
  });
  const time = timeToQuality(database);
  const lines = linesByPrecision(database);
  const groups = linesByGroup(database);
  const personal = linesOfPersonal(database);
  const emulated = linesOfEmulators(database);
  const transfer = rowsOfTransfer(database);
  const predicted = linesOfPredictions(database);
  const common = {
    ...(predicted === undefined ? {} : { predicted }),
    ...(transfer === undefined ? {} : { transfer }),
    ...(time === undefined ? {} : { timeToQuality: time }),
    ...(lines === undefined ? {} : { byPrecision: lines }),
    ...(groups === undefined ? {} : { byGroup: groups }),
    ...(personal === undefined ? {} : { personal }),
    ...(emulated === undefined ? {} : { emulated }),
  };
  if (reference === undefined) return { rows, ...common };
  return { reference, rows: rows.map((row) => withDifference(row, rows, reference)), ...common };
}

function armsOf(database: MetricsDatabase): ArmFacts[] {
  const stored = run(database);
  if (stored === undefined) return [];
  const config = storedConfigSchema.parse(JSON.parse(stored.configJson));
  const hasStartAdapter = config.training?.startAdapter !== undefined;
  const begun = database
    .prepare<[], { name: string; weightBytes: number }>(
      "SELECT name, model_weight_bytes AS weightBytes FROM arms ORDER BY arm_index",
    )
    .all();
  return begun.flatMap(({ name, weightBytes }) => {
    const arm = config.arms.find((candidate) => candidate.name === name);
    return arm === undefined ? [] : [{ ...arm, strategy: strategyLabel(arm.strategy), weightBytes, hasStartAdapter }];
  });
}

/** What training begins with, the base model alone or the start adapter, was measured before round 1 of any arm of its precision. */
function baseRow(database: MetricsDatabase, arms: readonly ArmFacts[]): SummaryRow[] {
  for (const arm of arms) {
    const before = evaluationsByArm(database, arm.name).filter((line) => line.round === 0);
    if (before.length === 0) continue;
    return [{ precision: arm.precision, adapter: arm.hasStartAdapter ? "start" : "base", weightBytes: arm.weightBytes, ...overall(before) }];
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

function overall(lines: readonly EvaluationLine[]): Quality {
  const found = Object.entries(QUALITY_METRICS).flatMap(([name, metric]) => {
    const value = lines.find((line) => line.clientId === null && line.metric === metric)?.value ?? undefined;
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(found);
}

function withDifference(row: SummaryRow, rows: readonly SummaryRow[], reference: string): SummaryRow {
  const other = rows.find((candidate) => candidate.precision === reference && candidate.adapter === row.adapter);
  if (row.heldOutLoss === undefined || other?.heldOutLoss === undefined) return row;
  return { ...row, lossAgainstReference: row.heldOutLoss - other.heldOutLoss };
}

/** Lines of the table for a terminal. */
export function formatSummary(summary: Summary): string[] {
  const table = formatTable(summaryColumns(summary), summary.rows.map((row) => summaryCells(row, summary)));
  return [...table, ...furtherTables(summary).flatMap(({ title, columns, rows }) => ["", title, ...formatTable(columns, rows)])];
}

interface SummaryColumn {
  readonly title: string;
  readonly value: (row: SummaryRow) => number | undefined;
  readonly format: (value: number) => string;
}

const PREFERENCE_QUALITY: readonly SummaryColumn[] = [
  { title: "held-out DPO loss", value: (row) => row.dpoLoss, format: (value) => value.toFixed(4) },
  { title: "reward accuracy", value: (row) => row.rewardAccuracy, format: formatPercent },
  { title: "reward margin", value: (row) => row.rewardMargin, format: formatSigned },
  { title: "ranking accuracy", value: (row) => row.rankingAccuracy, format: formatPercent },
];

function hasPreferences({ rows }: Summary): boolean {
  return rows.some((row) => row.dpoLoss !== undefined);
}

function answerQuality({ reference }: Summary): readonly SummaryColumn[] {
  return [
    { title: "held-out loss", value: (row) => row.heldOutLoss, format: (value) => value.toFixed(4) },
    { title: "exact match", value: (row) => row.exactMatch, format: formatPercent },
    { title: `loss vs ${reference ?? "F16"}`, value: (row) => row.lossAgainstReference, format: formatSigned },
  ];
}

/** The columns behind precision and adapter. */
function numberColumns(summary: Summary): readonly SummaryColumn[] {
  return [
    ...(hasPreferences(summary) ? PREFERENCE_QUALITY : answerQuality(summary)),
    { title: "weights", value: (row) => row.weightBytes, format: formatBytes },
    { title: "peak memory", value: (row) => row.peakMemoryBytes, format: formatBytes },
    { title: "tokens/s", value: (row) => row.tokensPerSecond, format: formatCount },
    { title: "sent per client and round", value: (row) => row.uploadBytes, format: formatBytes },
    ...(hasAggregationError(summary) ? [AGGREGATION_COLUMN] : []),
  ];
}

const AGGREGATION_COLUMN: SummaryColumn = {
  title: "aggregation error",
  value: (row) => row.aggregationError,
  format: (value) => value.toExponential(1),
};

function hasAggregationError({ rows }: Summary): boolean {
  return rows.some(({ aggregationError }) => aggregationError !== undefined);
}

function formatSigned(value: number): string {
  return `${value < 0 ? "" : "+"}${value.toFixed(4)}`;
}

function summaryColumns(summary: Summary): Column[] {
  const numbers = numberColumns(summary).map(({ title }) => ({ title, align: "right" as const }));
  return [{ title: "precision" }, { title: "adapter" }, ...numbers];
}

function summaryCells(row: SummaryRow, summary: Summary): string[] {
  const numbers = numberColumns(summary).map(({ value, format }) => {
    const number = value(row);
    return number === undefined ? "-" : format(number);
  });
  return [row.precision, row.adapter, ...numbers];
}

/** What the columns mean, below the table. */
export function summaryNotes(record: RunRecord, summary: Summary): string[] {
  const peak =
    record.machine.peakMemoryScope === "arm"
      ? "Peak memory is the largest resident size of the process while the arm trained, mapped weights included."
      : "Peak memory is the largest resident size of the process so far, as this system cannot tell arms apart.";
  const quality = hasPreferences(summary)
    ? "Rewards are beta times the change of an answer's log-probability against the reference policy. DPO loss and reward margin (chosen minus " +
      "rejected) are means over the overall held-out pairs; reward accuracy counts pairs with a margin above 0, equal rewards half; " +
      "ranking accuracy counts pairs whose chosen answer is the more probable one."
    : "Held-out loss is the mean over supervised tokens of the overall held-out set; exact match counts samples of which " +
      "every answer token is the most likely one given the right tokens before it, as greedy decoding would reproduce them.";
  return [
    quality,
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

/** Tables that not every run has. */
function furtherTables({ timeToQuality: time, byPrecision, byGroup, personal, emulated, transfer, predicted }: Summary) {
  return [
    ...(time === undefined ? [] : [timeToQualityTable(time)]),
    ...(byPrecision === undefined ? [] : [precisionTable(byPrecision)]),
    ...(byGroup === undefined ? [] : [groupTable(byGroup)]),
    ...(personal === undefined ? [] : [personalTable(personal)]),
    ...(emulated === undefined ? [] : [emulatorTable(emulated)]),
    ...(transfer === undefined ? [] : [transferTable(transfer)]),
    ...(predicted === undefined ? [] : [predictionTable(predicted)]),
  ];
}

function syntheticNote({ profile, seed }: NonNullable<RunRecord["syntheticData"]>): string {
  return `**Synthetic data** (profile ${profile}, seed ${String(seed)}), made by this program: the figures say nothing about the published data set.`;
}

function describeRun(database: MetricsDatabase, record: RunRecord): string[] {
  const summary = summarizeRun(database);
  const arms = armsOf(database).map((arm) => ({ ...arm, sums: totals(database, arm.name) }));
  const right = (title: string): Column => ({ title, align: "right" });
  return [
    `# ${record.name}`,
    "",
    ...(record.syntheticData === undefined ? [] : [syntheticNote(record.syntheticData), ""]),
    ...formatMarkdownTable(summaryColumns(summary), summary.rows.map((row) => summaryCells(row, summary))),
    "",
    ...summaryNotes(record, summary).map((note) => `- ${note}`),
    "",
    ...furtherTables(summary).flatMap(({ title, columns, rows }) => [`## ${title}`, "", ...formatMarkdownTable(columns, rows), ""]),
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
