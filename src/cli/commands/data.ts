/** The actions on client data, and `data inspect <file>`: what a client data file holds, how skewed it is, and every sample that cannot be used. */
import type { Argv, CommandModule } from "yargs";
import { formatCount, formatTable, printable, truncateToWidth } from "../../report/format.js";
import type { Distribution } from "../../data/statistics.js";
import { analyzeCommand } from "./data-analyze.js";
import { generateCommand } from "./data-generate.js";
import { dataGetCommand } from "./data-get.js";
import { dataImportCommand } from "./data-import.js";
import { dataListCommand } from "./data-list.js";
import { dataSplitCommand } from "./data-split.js";

interface InspectArguments {
  readonly file: string;
  readonly json: boolean;
  readonly clients: number;
}

export const dataCommand: CommandModule = {
  command: "data",
  describe: "look into client data, bring data into the form of clients, or make some",
  builder: (argv: Argv) =>
    argv
      .command(dataListCommand)
      .command(dataGetCommand)
      .command(inspectCommand)
      .command(analyzeCommand)
      .command(dataImportCommand)
      .command(dataSplitCommand)
      .command(generateCommand)
      .demandCommand(1, "Which action: list, get, inspect, analyze, import, split or generate?"),
  handler: () => undefined,
};

const inspectCommand: CommandModule<object, InspectArguments> = {
  command: "inspect <file>",
  describe: "clients, samples, lengths and unreadable samples of a data file",
  builder: (argv) =>
    argv.example("$0 data inspect clients.json", "clients, lengths, and samples that cannot be read")
      .positional("file", { type: "string", demandOption: true, describe: "JSON or JSON Lines, also gzipped, or a name of `data list`" })
      .option("json", { type: "boolean", default: false, describe: "print everything as one JSON value" })
      .option("clients", { type: "number", default: 20, describe: "clients listed, largest first" }),
  handler: async ({ file, json, clients }) => {
    const [{ describeSampleProblem }, { describeClients }, { readNamedDataset }] = await Promise.all([
      import("../../data/dataset.js"),
      import("../../data/statistics.js"),
      import("../../run/data-source.js"),
    ]);
    const dataset = await readNamedDataset(file);
    const statistics = describeClients(dataset.clients);
    if (json) {
      const { path, kind, sha256, numProblems, problems } = dataset;
      process.stdout.write(`${JSON.stringify({ path, kind, sha256, ...statistics, numProblems, problems }, null, 2)}\n`);
      return;
    }
    const largest = [...statistics.clients].sort((left, right) => right.numSamples - left.numSamples).slice(0, clients);
    const lines = [
      `${dataset.path}: ${dataset.kind} samples, SHA-256 ${dataset.sha256}`,
      `${formatCount(statistics.numSamples)} samples of ${formatCount(statistics.numClients)} clients`,
      "",
      ...describeSpread(statistics),
      "",
      ...formatTable(
        [{ title: "client" }, { title: "samples", align: "right" }, { title: "response characters", align: "right" }],
        largest.map((client) => [
          truncateToWidth(printable(client.id), 40),
          String(client.numSamples),
          client.responseCharacters?.mean.toFixed(0) ?? "",
        ]),
      ),
      ...(statistics.clients.length > largest.length ? [`… ${String(statistics.clients.length - largest.length)} more clients`] : []),
      "",
      `${String(dataset.numProblems)} problems${dataset.numProblems === 0 ? "" : ":"}`,
      ...dataset.problems.map((problem) => `  ${printable(describeSampleProblem(problem))}`),
      ...(dataset.numProblems > dataset.problems.length ? [`  … ${String(dataset.numProblems - dataset.problems.length)} more`] : []),
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

function describeSpread(statistics: {
  readonly samplesPerClient?: Distribution;
  readonly instructionCharacters?: Distribution;
  readonly responseCharacters?: Distribution;
  readonly rejectedCharacters?: Distribution;
}): string[] {
  const rows: (readonly [string, Distribution | undefined])[] = [
    ["samples per client", statistics.samplesPerClient],
    ["instruction characters", statistics.instructionCharacters],
    [statistics.rejectedCharacters === undefined ? "response characters" : "chosen characters", statistics.responseCharacters],
    ["rejected characters", statistics.rejectedCharacters],
  ];
  const columns = ["mean", "sd", "min", "median", "max"].map((title) => ({ title, align: "right" as const }));
  return formatTable(
    [{ title: "" }, ...columns],
    rows.flatMap(([title, spread]) =>
      spread === undefined
        ? []
        : [[title, ...[spread.mean, spread.standardDeviation, spread.min, spread.median, spread.max].map((value) => value.toFixed(0))]],
    ),
  );
}
