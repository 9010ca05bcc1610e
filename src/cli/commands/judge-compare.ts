/** `judge compare <left> <right> --metric NAME`: a judge sees two subjects' answers side by side, in both orders. */
import type { Argv, CommandModule, InferredOptionTypes } from "yargs";
import { isFedllmError, problemError } from "../../errors.js";
import { formatCount, printable } from "../../report/format.js";
import type { CompareAnswersResult } from "../../run/compare-answers.js";
import { judgeOptions, readJudge } from "../eval-options.js";
import { listenForInterrupt } from "../interrupt.js";
import { createStepProgress } from "../step-progress.js";

const options = {
  metric: { type: "string", requiresArg: true, demandOption: true, describe: "metric whose stored answers are compared, for example mt-bench" },
  ...judgeOptions,
  seed: { type: "number", requiresArg: true, default: 0, describe: "of resampling" },
  json: { type: "boolean", default: false, describe: "print the result as one JSON value" },
} as const;

type CompareArguments = InferredOptionTypes<typeof options> & { readonly left: string; readonly right: string };

export const judgeCompareCommand: CommandModule<object, CompareArguments> = {
  command: "compare <left> <right>",
  describe: "which of two subjects answered better, each pair of stored answers asked in both orders: wins, ties, adjusted win rate",
  builder: (argv: Argv) =>
    argv.example('$0 eval compare "runs/my-study#f16-fedavg" "runs/my-study#q4_k_m-fedavg"', "two arms on the same items, with paired tests")
      .positional("left", { type: "string", demandOption: true, describe: "run (folder or name) or database of results, and #LABEL where it has several subjects; its database keeps the verdicts" })
      .positional("right", { type: "string", demandOption: true, describe: "the same" })
      .options(options)
      .example("$0 judge compare runs/demo#f16-fedavg runs/demo#f16-local --metric mt-bench --judge-url http://127.0.0.1:8080/v1 --judge-model qwen", "after eval of both by this metric"),
  handler: async (values) => {
    const { left, right, metric, seed } = values;
    const judge = await readJudge(values);
    if (judge === undefined) throw problemError("CONFIG_INVALID", { subject: "judge", expected: "an endpoint with --judge-url and --judge-model or a file with --judge-gguf", received: "none" });
    if (!Number.isSafeInteger(seed) || seed < 0) throw problemError("CONFIG_INVALID", { subject: "--seed", expected: "a whole number of at least 0", received: String(seed) });
    const [{ compareAnswers }, { createJudge }] = await Promise.all([import("../../run/compare-answers.js"), import("../../judge/create-judge.js")]);
    const progress = createStepProgress();
    const interrupt = listenForInterrupt({
      onFirst: () => process.stderr.write("\nStopping; the same command goes on from here.\n"),
      onSecond: () => undefined,
    });
    try {
      const result = await compareAnswers(
        { left, right, metric, seed },
        {
          openJudge: () => createJudge(judge),
          onNote: (line) => process.stderr.write(`${line}\n`),
          onProgress: (counts) => {
            progress.update({ step: `${metric}: verdicts`, ...counts });
          },
          signal: interrupt.signal,
        },
      );
      progress.finish();
      await printResult(result, values.json);
    } catch (error) {
      progress.finish();
      if (isFedllmError(error, "CANCELLED")) process.stderr.write("Verdicts that were given are kept.\n");
      throw error;
    } finally {
      interrupt.dispose();
    }
  },
};

async function printResult(result: CompareAnswersResult, asJson: boolean): Promise<void> {
  process.stdout.write(`${asJson ? JSON.stringify(result, null, 2) : (await describeResult(result)).join("\n")}\n`);
  const { numUnjudged, failures, databasePath } = result;
  for (const { code, reason, count } of failures) process.stderr.write(`not judged: ${formatCount(count)} orders: ${code}: ${printable(reason)}\n`);
  if (numUnjudged > 0) process.stderr.write(`${formatCount(numUnjudged)} items could not be judged in both orders; the same command tries them again.\n`);
  if (!asJson) process.stderr.write(`Every verdict is in ${databasePath}\n`);
}

async function describeResult(result: CompareAnswersResult): Promise<string[]> {
  const [{ pairwiseTable }, { renderTables }] = await Promise.all([import("../../report/pairwise.js"), import("../../report/evaluation.js")]);
  const { left, right, title, judge, categoryName, numUnpaired, numPromptTokens, numCompletionTokens, usage } = result;
  const cost = usage.cost === undefined ? "" : `, ${usage.cost.amount.toFixed(4)} ${printable(usage.cost.currency)}`;
  const spent = usage.numReplies === 0 ? "nothing was asked" : `${formatCount(usage.numPromptTokens)} and ${formatCount(usage.numCompletionTokens)}${cost}, ${formatCount(usage.numCached)} of ${formatCount(usage.numReplies)} replies from the cache`;
  return [
    ...renderTables([pairwiseTable(`${title}: ${printable(left)} against ${printable(right)}, by ${printable(judge)}`, result, categoryName)]),
    "Orders that disagree are a tie, and a tie is half a win of the adjusted win rate; unreadable verdicts count for neither",
    `Tokens of these verdicts: ${formatCount(numPromptTokens)} of prompts, ${formatCount(numCompletionTokens)} of replies; this time ${spent}`,
    ...(numUnpaired === 0 ? [] : [`${formatCount(numUnpaired)} items were answered by only one side`]),
  ];
}
