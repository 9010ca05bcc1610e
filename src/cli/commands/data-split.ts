/** `data split <files...>`: clients out of samples without users, and how different they are. */
import type { CommandModule } from "yargs";
import { CLASS_SOURCES, SPLIT_METHODS } from "../../data/split/names.js";
import type { ClassSource, SplitMethod } from "../../data/split/names.js";
import type { SplitSkew } from "../../data/split/skew.js";
import { formatTable } from "../../report/format.js";
import { createByteProgress, describeProblems, describeWritten, importOptionsFrom, withImportOptions } from "../import-options.js";
import type { ImportArguments } from "../import-options.js";

interface Arguments extends ImportArguments {
  readonly method: SplitMethod;
  readonly clients: number;
  readonly seed: number;
  readonly by: ClassSource | undefined;
  readonly field: string | undefined;
  readonly bins: number;
  readonly alpha: number;
  readonly shards: number;
  readonly minSamples: number;
}

const SHOWN_CLIENTS_MAX = 20;

export const dataSplitCommand: CommandModule<object, Arguments> = {
  command: "split <files...>",
  describe: "deal samples without users out to clients, and measure the skew",
  builder: (argv) =>
    withImportOptions(argv)
      .option("clients", { type: "number", demandOption: true, requiresArg: true, describe: "number of clients" })
      .option("method", { choices: SPLIT_METHODS, default: "iid", requiresArg: true, describe: "how samples are dealt out" })
      .option("by", { choices: CLASS_SOURCES, requiresArg: true, describe: "what makes the classes that dirichlet and pathological deal out" })
      .option("field", { type: "string", requiresArg: true, describe: "field of the classes, with --by field" })
      .option("bins", { type: "number", default: 10, describe: "classes of equal size, with --by length" })
      .option("alpha", { type: "number", default: 0.5, describe: "concentration of dirichlet and quantity: smaller is more uneven" })
      .option("shards", { type: "number", default: 2, describe: "parts of each client, with pathological" })
      .option("min-samples", { type: "number", default: 1, describe: "fewest samples of a client; the draw is repeated until all have them" })
      .option("seed", { type: "number", default: 0, describe: "the same seed gives the same split; 0 is a seed" }) as never,
  handler: async (values) => {
    const [{ splitData }, { describeImportProblem }, options] = await Promise.all([
      import("../../data/split/split.js"),
      import("../../data/import/sample-stream.js"),
      importOptionsFrom(values),
    ]);
    const { out, overwrite, method, clients, seed, by, field, bins, alpha, shards, minSamples } = values;
    const progress = createByteProgress("read");
    const result = await splitData({
      ...options,
      ...{ out, overwrite, method, seed, bins, alpha, minSamples },
      numClients: clients,
      shardsPerClient: shards,
      onProgress: progress.update,
      ...(by === undefined ? {} : { by }),
      ...(field === undefined ? {} : { field }),
    }).finally(progress.finish);
    if (values.json) {
      process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
      return;
    }
    const lines = [
      describeWritten(result.written),
      "",
      ...describeSkew(result.skew, result.classes.length),
      "",
      ...describeProblems(result.problems, result.numProblems, describeImportProblem),
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

function describeSkew(skew: SplitSkew, numClasses: number): string[] {
  const shown = skew.clients.slice(0, SHOWN_CLIENTS_MAX);
  const distance = (value: number | undefined) => value?.toFixed(3) ?? "";
  const columns = ["samples", "classes", "distance by class", "distance by length"].map((title) => ({ title, align: "right" as const }));
  const rows = shown.map((client) => [client.id, String(client.numSamples), String(client.numClasses), distance(client.classDistance), distance(client.lengthDistance)]);
  const hidden = skew.clients.length - shown.length;
  return [
    ...formatTable([{ title: "client" }, ...columns], [...rows, ["all", "", String(numClasses), distance(skew.classDistance), distance(skew.lengthDistance)]]),
    ...(hidden > 0 ? [`… ${String(hidden)} more clients`] : []),
    `sizes ${String(skew.smallest)} to ${String(skew.largest)}, Gini coefficient ${skew.sizeGini.toFixed(3)}; distances are total variation from all samples, 0 to 1`,
  ];
}
