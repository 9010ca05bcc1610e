/** `data split <files...>`: clients out of samples without users, and how different they are. */
import { availableParallelism } from "node:os";
import type { CommandModule } from "yargs";
import type { SampleStreamOptions } from "../../data/import/sample-stream.js";
import { CLASS_SOURCES, SPLIT_METHODS } from "../../data/split/names.js";
import type { ClassSource, SplitMethod } from "../../data/split/names.js";
import type { SplitSkew } from "../../data/split/skew.js";
import { problemError } from "../../errors.js";
import { formatTable } from "../../report/format.js";
import { createByteProgress, describeProblems, describeWritten, importOptionsFrom, withImportOptions } from "../import-options.js";
import type { ImportArguments } from "../import-options.js";
import { listenForInterrupt } from "../interrupt.js";
import { createStepProgress } from "../step-progress.js";

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
  readonly model: string | undefined;
  readonly clusters: number | undefined;
  readonly layer: number | undefined;
  readonly device: string | undefined;
  readonly numThreads: number;
  readonly cache: string | undefined;
}

const SHOWN_CLIENTS_MAX = 20;

export const dataSplitCommand: CommandModule<object, Arguments> = {
  command: "split <files...>",
  describe: "deal samples without users out to clients, and measure the skew",
  builder: (argv) =>
    withImportOptions(argv.example("$0 data split samples.jsonl --method dirichlet --alpha 0.5 --clients 20 --out clients.json", "samples without users, dealt out unevenly"))
      .option("clients", { type: "number", demandOption: true, requiresArg: true, describe: "number of clients" })
      .option("method", { choices: SPLIT_METHODS, default: "iid", requiresArg: true, describe: "how samples are dealt out" })
      .option("by", { choices: CLASS_SOURCES, requiresArg: true, describe: "what makes the classes that dirichlet and pathological deal out" })
      .option("field", { type: "string", requiresArg: true, describe: "field of the classes, with --by field" })
      .option("bins", { type: "number", default: 10, describe: "classes of equal size, with --by length" })
      .option("alpha", { type: "number", default: 0.5, describe: "concentration of dirichlet and quantity: smaller is more uneven" })
      .option("shards", { type: "number", default: 2, describe: "parts of each client, with pathological" })
      .option("min-samples", { type: "number", default: 1, describe: "fewest samples of a client; the draw is repeated until all have them" })
      .option("model", { type: "string", requiresArg: true, describe: "with --by cluster: GGUF file or builtin:fedllm-tiny, whose embeddings of instructions are clustered" })
      .option("clusters", { type: "number", requiresArg: true, describe: "with --by cluster: number of clusters (default: 10)" })
      .option("layer", { type: "number", requiresArg: true, describe: "with --by cluster: layers below the embeddings, 0 to all (default: all)" })
      .option("device", { type: "string", requiresArg: true, describe: "with --by cluster: auto, cpu, vulkan:0, cuda:0, metal or a name as `doctor` lists it" })
      .option("num-threads", { type: "number", default: availableParallelism(), describe: "compute threads of the model" })
      .option("cache", { type: "string", requiresArg: true, describe: "with --by cluster: folder that keeps embeddings, so that a stopped or repeated split goes on" })
      .option("seed", { type: "number", default: 0, describe: "the same seed gives the same split; 0 is a seed" }) as never,
  handler: async (values) => {
    const [{ splitData }, { describeImportProblem }, options] = await Promise.all([
      import("../../data/split/split.js"),
      import("../../data/import/sample-stream.js"),
      importOptionsFrom(values),
    ]);
    const { out, overwrite, method, clients, seed, by, field, bins, alpha, shards, minSamples } = values;
    const classOf = await clusterClasses(values, options);
    const progress = createByteProgress("read");
    const result = await splitData({
      ...options,
      ...{ out, overwrite, method, seed, bins, alpha, minSamples },
      numClients: clients,
      shardsPerClient: shards,
      onProgress: progress.update,
      ...(by === undefined ? {} : { by }),
      ...(field === undefined ? {} : { field }),
      ...(classOf === undefined ? {} : { classOf }),
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

const DEFAULT_CLUSTERS = 10;

/** Undefined for classes that need no model. Throws CONFIG_INVALID for options of a model without --by cluster, and for that without a model. */
async function clusterClasses(values: Arguments, files: SampleStreamOptions) {
  const { by, model, clusters: numClusters = DEFAULT_CLUSTERS, layer, device, numThreads, cache, seed, out, overwrite } = values;
  const refuse = (subject: string, expected: string, received: string) => problemError("CONFIG_INVALID", { subject, expected, received });
  if (by !== "cluster") {
    const given = [model, values.clusters, layer, device, cache].some((value) => value !== undefined);
    if (given) throw refuse("--model, --clusters, --layer, --device and --cache", "--by cluster with them", by ?? "none");
    return undefined;
  }
  if (model === undefined) throw refuse("--by cluster", "--model, which says what is alike", "none");
  // Before the long part.
  const [{ findClusterClasses }, { checkOutputPath }] = await Promise.all([import("../../run/cluster-classes.js"), import("../../data/import/write-federated.js")]);
  checkOutputPath(out, overwrite);
  const progress = createStepProgress();
  const interrupt = listenForInterrupt({
    onFirst: () => process.stderr.write(`\nStopping; ${cache === undefined ? "with --cache the same command would go on" : "the same command goes on"} from here.\n`),
    onSecond: () => undefined,
  });
  return findClusterClasses({
    ...{ files, model, numClusters, numThreads, device, seed, signal: interrupt.signal },
    onProgress: progress.update,
    onBuild: (line) => process.stderr.write(`${line}\n`),
    ...(layer === undefined ? {} : { boundary: layer }),
    ...(cache === undefined ? {} : { cache }),
  }).finally(() => {
    progress.finish();
    interrupt.dispose();
  });
}

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
