/** `eval compare <left> <right>`: two subjects on the items that both answered. */
import type { CommandModule } from "yargs";

interface CompareArguments {
  readonly left: string;
  readonly right: string;
  readonly seed: number;
  readonly json: boolean;
}

export const compareCommand: CommandModule<object, CompareArguments> = {
  command: "compare <left> <right>",
  describe: "paired comparison of two subjects: differences with intervals, wins, p-values",
  builder: (argv) =>
    argv.example('$0 eval compare "runs/my-study#f16-fedavg" "runs/my-study#q4_k_m-fedavg"', "two arms on the same items, with paired tests")
      .positional("left", { type: "string", demandOption: true, describe: "run (folder or name) or database of results, and #LABEL where it has several subjects" })
      .positional("right", { type: "string", demandOption: true, describe: "the same" })
      .option("seed", { type: "number", default: 0, describe: "of resampling" })
      .option("json", { type: "boolean", default: false, describe: "print the comparison as one JSON value" }),
  handler: async ({ left, right, seed, json }) => {
    const [{ openSubject, pairResults }, { compareResults }, { comparisonTable, renderTables }] = await Promise.all([
      import("../../run/evaluation-source.js"),
      import("../../benchmarks/summary.js"),
      import("../../report/evaluation.js"),
    ]);
    const subjects = [openSubject(left), openSubject(right)] as const;
    try {
      const comparisons = compareResults(pairResults(...subjects), seed);
      const lines = json
        ? [JSON.stringify(comparisons, null, 2)]
        : [
            ...renderTables([comparisonTable(subjects[0].label, subjects[1].label, comparisons)]),
            "p: two-sided sign-flip randomization test of the mean difference, all patterns or (~) 10,000 drawn ones; Holm's correction over these measures",
          ];
      process.stdout.write(`${lines.join("\n")}\n`);
    } finally {
      for (const { database } of subjects) database.close();
    }
  },
};
