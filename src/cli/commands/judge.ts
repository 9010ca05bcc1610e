/** `judge agreement <database>`: how far judges agree who scored the same answers; `judge compare` is judge-compare.ts. */
import { existsSync } from "node:fs";
import type { CommandModule } from "yargs";
import type { JudgeAgreement } from "../../benchmarks/judge-agreement.js";
import { problemError } from "../../errors.js";
import { formatCount, formatPercent, formatTable, printable } from "../../report/format.js";
import { judgeCompareCommand } from "./judge-compare.js";

interface AgreementArguments {
  readonly database: string;
  readonly json: boolean;
}

const agreementCommand: CommandModule<object, AgreementArguments> = {
  command: "agreement <database>",
  describe: "judges who scored the same answers: correlation and difference of ratings, kappa of ratings and of verdicts",
  builder: (argv) =>
    argv
      .positional("database", { type: "string", demandOption: true, describe: "evaluation.sqlite with scores of two judges or more" })
      .option("json", { type: "boolean", default: false, describe: "print the result as one JSON value" })
      .example("$0 judge agreement runs/demo/evaluation.sqlite", "after two evaluations of the same metric with different judges"),
  handler: async ({ database: path, json }) => {
    const [{ ensureSqlite }, { openRunDatabaseForReading }, { EVALUATION_DATABASE }, { judgeAgreement }] = await Promise.all([
      import("../../metrics/ensure-sqlite.js"),
      import("../../metrics/database.js"),
      import("../../benchmarks/schema.js"),
      import("../../benchmarks/judge-agreement.js"),
    ]);
    if (!existsSync(path)) throw problemError("CONFIG_INVALID", { subject: "database", expected: "an evaluation.sqlite", received: `${path}, which does not exist` });
    await ensureSqlite({ onProgress: (line) => process.stderr.write(`${line}\n`) });
    const database = openRunDatabaseForReading(path, EVALUATION_DATABASE);
    try {
      const result = judgeAgreement(database);
      process.stdout.write(json ? `${JSON.stringify(result, null, 2)}\n` : `${describeAgreement(result).join("\n")}\n`);
    } finally {
      database.close();
    }
  },
};

export const judgeCommand: CommandModule = {
  command: "judge",
  describe: "what judges of answers make of them",
  builder: (argv) => argv.command(agreementCommand).command(judgeCompareCommand).demandCommand(1, "Which one? agreement or compare."),
  handler: () => undefined,
};

function describeAgreement({ subjects, verdicts }: JudgeAgreement): string[] {
  if (subjects.length === 0) return ["No answers were scored by two judges."];
  const number = (value: number) => (Number.isNaN(value) ? "–" : value.toFixed(2));
  const ratings = formatTable(
    [{ title: "subject" }, { title: "measure" }, { title: "judges" }, ...["items", "Spearman", "mean |difference|", "mean difference", "weighted kappa"].map((title) => ({ title, align: "right" as const }))],
    subjects.map((row) => [
      printable(row.subject),
      `${row.metric} ${row.measure}`,
      printable(row.judges.join(", ")),
      row.numCompared === row.numItems ? formatCount(row.numItems) : `${formatCount(row.numCompared)} of ${formatCount(row.numItems)}`,
      ...[row.spearman, row.meanAbsoluteDifference, row.meanDifference, row.quadraticWeightedKappa].map(number),
    ]),
  );
  if (verdicts.length === 0) return ratings;
  const table = formatTable(
    [{ title: "measure" }, { title: "judges" }, ...["verdicts", "same", "Cohen's kappa"].map((title) => ({ title, align: "right" as const }))],
    verdicts.map(({ metric, measure, judges, numVerdicts, agreement, kappa }) => [`${metric} ${measure}`, printable(judges.join(", ")), formatCount(numVerdicts), formatPercent(agreement), number(kappa)]),
  );
  return [...ratings, "", "Which of two subjects answered better, ratings up to 0.1 apart being a tie:", ...table];
}
