/** `data analyze <source>`: what client data holds, per client and overall, as a database, JSON and a summary. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { CommandModule, InferredOptionTypes } from "yargs";
import type { AnalyzeResult } from "../../analysis/analyze.js";
import type { AnalysisReport, GroupReport } from "../../analysis/report.js";
import type { AnalysisModel } from "../../analysis/model-findings.js";
import { TEMPLATE_NAMES } from "../../data/prompt-template.js";
import type { TemplateName } from "../../data/prompt-template.js";
import { formatCount, formatPercent, formatTable, printable, truncateToWidth } from "../../report/format.js";
import { listenForInterrupt } from "../interrupt.js";
import { createStepProgress } from "../step-progress.js";

const analyzeOptions = {
  out: { type: "string", requiresArg: true, describe: "folder of the results (default: analysis/NAME)" },
  synthetic: { type: "boolean", default: false, describe: "the synthetic data of an experiment in place of its file" },
  model: { type: "string", requiresArg: true, describe: "GGUF file or builtin:fedllm-tiny: adds lengths in tokens, quality of answers (IFD) and embeddings of instructions" },
  template: { choices: TEMPLATE_NAMES, requiresArg: true, describe: "how the model reads samples (default: the experiment's, or alpaca)" },
  layer: { type: "number", requiresArg: true, describe: "layers below the embeddings, 0 to all (default: all)" },
  "max-length": { type: "number", requiresArg: true, describe: "most tokens that the model reads at once; longer samples are not scored (default: 1024)" },
  "model-samples": { type: "number", requiresArg: true, describe: "samples that the model reads, about as many of each client (default: 2000)" },
  seed: { type: "number", default: 0, describe: "of the projections; 0 is a seed" },
  device: { type: "string", requiresArg: true, describe: "auto, cpu, vulkan:0, cuda:0, metal or a name as `doctor` lists it" },
  "num-threads": { type: "number", default: availableParallelism(), describe: "compute threads" },
  clients: { type: "number", default: 20, describe: "clients listed, largest first" },
  json: { type: "boolean", default: false, describe: "print the whole report as one JSON value" },
} as const;

type AnalyzeArguments = InferredOptionTypes<typeof analyzeOptions> & { readonly source: string };

export const analyzeCommand: CommandModule<object, AnalyzeArguments> = {
  command: "analyze <source>",
  describe: "languages, lengths, instruction types and differences of clients, per client and overall",
  builder: (argv) =>
    argv.example("$0 data analyze clients.json --model base.gguf --out analysis", "a page with languages, quality, embeddings and similarity of clients")
      .positional("source", { type: "string", demandOption: true, describe: "client data file, a name of `data list`, or the name or file of an experiment whose training data is meant" })
      .options(analyzeOptions),
  handler: async (values) => {
    const [{ ensureSqlite }, { readAnalysisSource }, { analyzeDataset }] = await Promise.all([
      import("../../metrics/ensure-sqlite.js"),
      import("../../run/analysis-source.js"),
      import("../../analysis/analyze.js"),
    ]);
    await ensureSqlite({ onProgress: (line) => process.stderr.write(`${line}\n`) });
    const { name, dataset, config } = await readAnalysisSource(values.source, { synthetic: values.synthetic });
    const out = values.out ?? join("analysis", name);
    const configured = config?.data.template;
    const opened = await openModel(values, values.template ?? (configured === undefined || configured === "none" ? "alpaca" : configured));
    const progress = createStepProgress();
    const interrupt = listenForInterrupt({
      onFirst: () => process.stderr.write("\nStopping; the same command goes on from here.\n"),
      onSecond: () => undefined,
    });
    try {
      const result = await analyzeDataset(dataset, { out, name, ...modelOptions(values, opened?.model), onProgress: progress.update, signal: interrupt.signal });
      progress.finish();
      process.stdout.write(values.json ? `${JSON.stringify(result.report, null, 2)}\n` : `${describeResult(result, values.clients).join("\n")}\n`);
    } finally {
      progress.finish();
      interrupt.dispose();
      opened?.dispose();
    }
  },
};

async function openModel({ model, device, "num-threads": numThreads }: AnalyzeArguments, template: TemplateName) {
  if (model === undefined) return undefined;
  const { openAnalysisModel } = await import("../../run/analysis-model.js");
  return openAnalysisModel({ model, template, device, numThreads, onProgress: (line) => process.stderr.write(`${line}\n`) });
}

function modelOptions({ layer, "max-length": maxLength, "model-samples": modelSamples, seed }: AnalyzeArguments, model: AnalysisModel | undefined) {
  return {
    seed,
    ...(model === undefined ? {} : { model }),
    ...(layer === undefined ? {} : { boundary: layer }),
    ...(maxLength === undefined ? {} : { maxLength }),
    ...(modelSamples === undefined ? {} : { modelSamples }),
  };
}

function describeResult({ report, jsonPath, databasePath, pagePath }: AnalyzeResult, numClients: number): string[] {
  const { dataset, overall } = report;
  return [
    `${dataset.name}: ${formatCount(overall.numSamples)} ${dataset.kind} samples of ${formatCount(dataset.numClients)} clients`,
    "",
    ...describeLengths(overall),
    "",
    `languages: ${shares(overall.languages, overall.numSamples)}`,
    `instruction types (approximate, English only, found in ${formatPercent(overall.instructionTypes.numTyped / Math.max(1, overall.numSamples))}): ${shares(
      overall.instructionTypes.verbs.map(({ verb, count }) => ({ name: verb, count })),
      overall.numSamples,
    )}`,
    ...describePreferences(overall),
    ...describeQuality(report),
    "",
    ...describeClientTable(report, numClients),
    "",
    `${pagePath}: all figures on one page, which are also SVG and PNG files in its folder's figures`,
    `${jsonPath}: the whole report`,
    `${databasePath}: every sample, client and pair of clients`,
  ];
}

const SHOWN_SHARES_MAX = 8;

function shares(counts: readonly { readonly name: string; readonly count: number }[], total: number): string {
  const shown = counts.slice(0, SHOWN_SHARES_MAX).map(({ name, count }) => `${printable(name)} ${formatPercent(count / Math.max(1, total))}`);
  return [...shown, ...(counts.length > shown.length ? [`… ${String(counts.length - shown.length)} more`] : [])].join(", ");
}

function describeLengths(group: AnalysisReport["overall"]): string[] {
  const rows = [
    ["samples per client", group.samplesPerClient],
    ["instruction characters", group.instructionCharacters],
    ["response characters", group.responseCharacters],
    ["rejected characters", group.rejectedCharacters],
    ["instruction tokens", group.instructionTokens],
    ["response tokens", group.responseTokens],
    ["rejected tokens", group.rejectedTokens],
  ] as const;
  const columns = ["mean", "sd", "min", "median", "max"].map((title) => ({ title, align: "right" as const }));
  return formatTable(
    [{ title: "" }, ...columns],
    rows.flatMap(([title, spread]) =>
      spread === undefined ? [] : [[title, ...[spread.mean, spread.standardDeviation, spread.min, spread.median, spread.max].map((value) => value.toFixed(0))]],
    ),
  );
}

function describePreferences({ preferences = [] }: GroupReport): string[] {
  const known = preferences.filter(({ numPairs }) => numPairs > 0);
  if (known.length === 0) return [];
  const parts = known.map(({ property, numPairs, numChosen, verdict }) => `${property} ${formatPercent(numChosen / numPairs)} of ${formatCount(numPairs)} (${verdict})`);
  return [`chosen answers, of the pairs that differ: ${parts.join(", ")}`];
}

function describeQuality({ model, overall: { quality } }: AnalysisReport): string[] {
  if (model === undefined || quality?.ifd === undefined) return [];
  const { ifd, numScored, numSkipped, numAboveOne } = quality;
  const spread = `${ifd.mean.toFixed(2)} ± ${ifd.standardDeviation.toFixed(2)}`;
  return [
    `quality by ${printable(model.name)} (IFD, loss with the instruction by loss without): ${spread} over ${formatCount(numScored)} samples, ` +
      `${formatCount(numAboveOne)} above 1${numSkipped === 0 ? "" : `, ${formatCount(numSkipped)} not scored`}`,
  ];
}

function describeClientTable({ clients, model }: AnalysisReport, numShown: number): string[] {
  const largest = [...clients].sort((left, right) => right.numSamples - left.numSamples).slice(0, numShown);
  const number = (value: number | undefined, digits: number) => value?.toFixed(digits) ?? "";
  const columns = ["samples", "instruction", "response", "distance by language", "by instruction length", "by response length", ...(model === undefined ? [] : ["IFD"])];
  return [
    ...formatTable(
      [{ title: "client" }, { title: "main language" }, ...columns.map((title) => ({ title, align: "right" as const }))],
      largest.map((client) => [
        truncateToWidth(printable(client.id), 40),
        client.languages[0]?.name ?? "",
        String(client.numSamples),
        number(client.instructionCharacters?.mean, 0),
        number(client.responseCharacters?.mean, 0),
        number(client.distances?.language, 3),
        number(client.distances?.instructionLength, 2),
        number(client.distances?.responseLength, 2),
        ...(model === undefined ? [] : [number(client.quality?.ifd?.mean, 2)]),
      ]),
    ),
    ...(clients.length > largest.length ? [`… ${String(clients.length - largest.length)} more clients`] : []),
    "distances are from all samples: total variation by language (0 to 1), doublings by length in characters",
  ];
}
