/** `model inspect <gguf>`, `model quantize <in> <type> <out>` and `model emulate <in> <out>`. */
import { availableParallelism } from "node:os";
import type { Argv, CommandModule } from "yargs";
import { describeMemoryPlan } from "../../report/memory-plan.js";
import { formatBytes, formatCount, formatTable, printable } from "../../report/format.js";

export const modelCommand: CommandModule = {
  command: "model",
  describe: "look into a GGUF model, quantize it, or leave layers out",
  builder: (argv: Argv) =>
    argv.command(inspectCommand).command(quantizeCommand).command(emulateCommand).demandCommand(1, "Which action: inspect, quantize or emulate?"),
  handler: () => undefined,
};

const inspectCommand: CommandModule<object, { file: string; json: boolean }> = {
  command: "inspect <file>",
  describe: "architecture, sizes and weight types of a GGUF file",
  builder: (argv) =>
    argv.example("$0 model inspect model.gguf", "architecture, sizes and whether it can be trained")
      .positional("file", { type: "string", demandOption: true, describe: "GGUF file, or builtin:fedllm-tiny" })
      .option("json", { type: "boolean", default: false, describe: "print one JSON value" }),
  handler: async ({ file, json }) => {
    const [addon, { BaseModel }, { awaitNative }, { resolveModelPath }] = await Promise.all([
      openAddon(),
      import("../../native/base-model.js"),
      import("../../native/native-error.js"),
      import("../../config/builtin.js"),
    ]);
    const path = resolveModelPath(file);
    const model = await BaseModel.open(addon, path, { numThreads: 1 });
    const { info } = model;
    const adapter = { rank: 16, loraAlpha: 32, targetModules: ["attn_q", "attn_v"] };
    const { numParameters } = model.adapterLayout(adapter);
    model.dispose();
    const workload = { longestSample: 1024, batchSize: 16, microBatchTokens: 1024, dropout: 0.05 };
    const plan = await awaitNative(() => addon.planMemory(path, { numThreads: 1 }, { ...workload, adapter }));
    if (json) {
      process.stdout.write(`${JSON.stringify({ path, ...info, memoryPlan: plan }, null, 2)}\n`);
      return;
    }
    const rows: [string, string][] = [
      ["file", path],
      ["name", printable(info.name ?? "")],
      ["architecture", info.architecture],
      ["parameters", formatCount(info.numParameters)],
      ["weights", formatBytes(info.weightBytes)],
      ["layers", String(info.numLayers)],
      ["embedding length", String(info.embeddingLength)],
      ["feed-forward length", String(info.feedForwardLength)],
      ["heads", `${String(info.numHeads)}, ${String(info.numKvHeads)} for keys and values, length ${String(info.headLength)}`],
      ["vocabulary", formatCount(info.vocabularySize)],
      ["context length", String(info.contextLength)],
      ["head", info.tiedHead ? "tied to the embedding" : "separate"],
      [
        "adapter",
        `${formatCount(numParameters)} parameters, ${formatBytes(4 * numParameters)} to send, with rank ${String(adapter.rank)} on ${adapter.targetModules.join(" and ")}`,
      ],
      ["training on the CPU", `${formatBytes(plan.processBytes)} with this adapter and samples of ${String(workload.longestSample)} tokens: ${describeMemoryPlan(plan)}`],
      ["tensors", Object.entries(info.tensorTypes).map(([type, number]) => `${String(number)} ${type}`).join(", ")],
    ];
    process.stdout.write(`${formatTable([{ title: "" }, { title: "" }], rows).slice(1).join("\n")}\n`);
  },
};

const quantizeCommand: CommandModule<object, { in: string; type: string; out: string; "num-threads": number }> = {
  command: "quantize <in> <type> <out>",
  describe: "make a quantized variant with llama.cpp's own quantizer",
  builder: (argv) =>
    argv.example("$0 model quantize model-f16.gguf Q4_K_M model-q4_k_m.gguf", "as llama.cpp does it")
      .positional("in", { type: "string", demandOption: true, describe: "unquantized GGUF file, or builtin:fedllm-tiny" })
      .positional("type", { type: "string", demandOption: true, describe: "for example Q8_0 or Q4_K_M" })
      .positional("out", { type: "string", demandOption: true, describe: "file to write" })
      .option("num-threads", { type: "number", default: availableParallelism(), describe: "threads" }),
  handler: async (values) => {
    const [addon, { quantizeModel }, { resolveModelPath }, { stat }] = await Promise.all([
      openAddon(),
      import("../../native/quantize.js"),
      import("../../config/builtin.js"),
      import("node:fs/promises"),
    ]);
    const inputPath = resolveModelPath(values.in);
    await quantizeModel(addon, { inputPath, outputPath: values.out, type: values.type, numThreads: values["num-threads"] });
    const { size } = await stat(values.out);
    process.stdout.write(`${values.out}: ${formatBytes(size)}\n`);
  },
};

interface EmulateArguments {
  readonly in: string;
  readonly out: string;
  readonly "first-layers": number;
  readonly "last-layers": number;
  readonly "drop-rate": number;
}

const emulateCommand: CommandModule<object, EmulateArguments> = {
  command: "emulate <in> <out>",
  describe: "make a model of fewer layers for clients that must not have all of it (offsite tuning, FedBiOT)",
  builder: (argv) =>
    argv.example("$0 model emulate model.gguf emulator.gguf --last-layers 4 --drop-rate 0.5", "the last four layers, and half of those before them")
      .positional("in", { type: "string", demandOption: true, describe: "GGUF file, or builtin:fedllm-tiny" })
      .positional("out", { type: "string", demandOption: true, describe: "file to write" })
      .option("first-layers", { type: "number", default: 0, describe: "layers at the bottom that are kept for the adapter" })
      .option("last-layers", { type: "number", default: 2, describe: "layers at the top that are kept for the adapter" })
      .option("drop-rate", { type: "number", default: 0.5, describe: "part of the layers between that is left out, evenly spread" }),
  handler: async (values) => {
    const [addon, { BaseModel }, { emulateModel }, { emulatorLayers }, { hashFile }, { resolveModelPath }, { stat }] = await Promise.all([
      openAddon(),
      import("../../native/base-model.js"),
      import("../../native/emulate.js"),
      import("../../adapter/emulator-layers.js"),
      import("../../run/file-hash.js"),
      import("../../config/builtin.js"),
      import("node:fs/promises"),
    ]);
    const inputPath = resolveModelPath(values.in);
    const model = await BaseModel.open(addon, inputPath, { numThreads: 1 });
    const { numLayers } = model.info;
    model.dispose();
    const shape = { firstLayers: values["first-layers"], lastLayers: values["last-layers"], dropRate: values["drop-rate"] };
    const { kept, inEmulator } = emulatorLayers(numLayers, shape);
    await emulateModel(addon, { inputPath, outputPath: values.out, layers: kept });
    const { size } = await stat(values.out);
    process.stdout.write(
      `${values.out}: ${formatBytes(size)}, layers ${kept.join(" ")} of ${String(numLayers)}; ` +
        `adapter on its layers ${inEmulator.join(" ")}; SHA-256 ${await hashFile(values.out)}\n`,
    );
  },
};

async function openAddon() {
  const { ensureAddon } = await import("../../native/build.js");
  const native = await ensureAddon({ onProgress: (line) => process.stderr.write(`${line}\n`) });
  return native.addon;
}
