/** `import <adapter>`: an adapter of PEFT or another program as a start adapter of a run. */
import type { CommandModule, InferredOptionTypes } from "yargs";

const importOptions = {
  model: { type: "string", demandOption: true, requiresArg: true, describe: "GGUF file of its base model, or builtin:fedllm-tiny" },
  out: { type: "string", default: "start-adapter.gguf", requiresArg: true, describe: "GGUF adapter to write" },
  json: { type: "boolean", default: false, describe: "its section lora as JSON" },
} as const;

type ImportArguments = InferredOptionTypes<typeof importOptions> & { readonly adapter: string };

export const importCommand: CommandModule<object, ImportArguments> = {
  command: "import <adapter>",
  describe: "take an adapter of PEFT or a GGUF adapter as the start of a run",
  builder: (argv) =>
    argv
      .positional("adapter", { type: "string", demandOption: true, describe: "folder with adapter_config.json and adapter_model.safetensors, or GGUF adapter" })
      .options(importOptions)
      .example("$0 import my-peft-adapter --model base.gguf", "writes start-adapter.gguf and says what to put in the experiment")
      .example("$0 run experiment.yaml --start-adapter start-adapter.gguf", "trains on from there"),
  handler: async ({ adapter, model, out, json }) => {
    const [{ importAdapter }, { resolveModelPath }, { ensureAddon }] = await Promise.all([
      import("../../exchange/import-adapter.js"),
      import("../../config/builtin.js"),
      import("../../native/build.js"),
    ]);
    const { addon } = await ensureAddon({ onProgress: (line) => process.stderr.write(`${line}\n`) });
    const { rank, loraAlpha, targetModules, layers } = await importAdapter(addon, { source: adapter, modelPath: resolveModelPath(model), outputPath: out });
    if (json) {
      process.stdout.write(`${JSON.stringify({ file: out, lora: { rank, loraAlpha, targetModules, ...(layers === undefined ? {} : { layers }) } })}\n`);
      return;
    }
    const place = layers === undefined ? "" : `, layers: [${layers.join(", ")}]`;
    const lines = [`${out} is written. An experiment that begins with it has:`, "", `training: { startAdapter: ${out} }`, `lora: { rank: ${String(rank)}, loraAlpha: ${String(loraAlpha)}, targetModules: [${targetModules.join(", ")}]${place} }`];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};
