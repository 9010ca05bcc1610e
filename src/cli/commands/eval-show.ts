/** `eval show <source>`: everything that was found so far, without computing anything but means. */
import type { CommandModule } from "yargs";

interface ShowArguments {
  readonly source: string;
  readonly json: boolean;
  readonly markdown: boolean;
}

export const showCommand: CommandModule<object, ShowArguments> = {
  command: "show <source>",
  describe: "results that are there already",
  builder: (argv) =>
    argv.example("$0 eval show runs/my-study", "all scores of a run with their intervals")
      .positional("source", { type: "string", demandOption: true, describe: "run (folder or name) or database of results; #LABEL chooses one subject" })
      .option("markdown", { type: "boolean", default: false, describe: "print tables in Markdown" })
      .option("json", { type: "boolean", default: false, describe: "print the results as one JSON value" }),
  handler: async ({ source, json, markdown }) => {
    const [{ openSource }, { storedResults }, { describeResults }] = await Promise.all([
      import("../../run/evaluation-source.js"),
      import("../../benchmarks/queries.js"),
      import("../eval-results.js"),
    ]);
    const { database, path, label } = openSource(source);
    const results = storedResults(database, label);
    database.close();
    process.stdout.write(`${(await describeResults(path, results, json ? "json" : markdown ? "markdown" : "text")).join("\n")}\n`);
  },
};
