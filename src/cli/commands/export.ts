/** `export <subject>`: an adapter for other programs: GGUF in several types, PEFT, or merged into the model's weights. */
import { availableParallelism } from "node:os";
import { basename, join, resolve } from "node:path";
import type { CommandModule, InferredOptionTypes } from "yargs";
import { problemError } from "../../errors.js";
import type { ExportForms } from "../../exchange/export-adapter.js";
import { NUMBER_TYPES } from "../../exchange/number-types.js";
import type { AdapterFileType } from "../../native/binding.js";
import { formatBytes, printable } from "../../report/format.js";
import { choiceOptions } from "../choice-options.js";

const ADAPTER_TYPES = ["F32", "F16", "Q8_0"] as const;

const exportOptions = {
  ...choiceOptions,
  gguf: { choices: ADAPTER_TYPES, requiresArg: true, describe: "write a GGUF adapter of this type" },
  peft: { choices: NUMBER_TYPES, requiresArg: true, describe: "write adapter_model.safetensors and adapter_config.json with numbers of this type" },
  merged: { type: "string", requiresArg: true, describe: "write the whole model with the adapter in its weights, for example Q4_K_M or F16" },
  all: { type: "boolean", default: false, describe: "every adapter of the run, or of the --arm: groups, clients and rounds too, each in a folder of its own" },
  out: { type: "string", requiresArg: true, describe: "new folder (default: exports/<run>-<adapter>)" },
  "base-name": { type: "string", requiresArg: true, describe: "the base model's name on the hub, for PEFT (default: the name in the model file)" },
  "num-threads": { type: "number", default: availableParallelism(), requiresArg: true, describe: "threads of the quantizer" },
  json: { type: "boolean", default: false, describe: "what was written, as JSON" },
} as const;

type ExportArguments = InferredOptionTypes<typeof exportOptions> & { readonly subject: string };

export const exportCommand: CommandModule<object, ExportArguments> = {
  command: "export <subject>",
  describe: "an adapter for other programs: GGUF, PEFT, or a merged model, with a model card",
  builder: (argv) =>
    argv
      .positional("subject", { type: "string", demandOption: true, describe: "run (folder or name below ./runs), or GGUF adapter" })
      .options(exportOptions)
      .example("$0 export runs/my-study --arm q8_0-fedavg", "a GGUF adapter and PEFT's files, both F32")
      .example("$0 export runs/my-study --arm q8_0-fedavg --merged Q4_K_M", "a whole model for any program that reads GGUF")
      .example("$0 export runs/my-study --peft BF16 --base-name Qwen/Qwen3-0.6B", "for transformers and PEFT")
      .example("$0 export adapter.gguf --model base.gguf --gguf Q8_0 --out small", "an adapter that lies in no run"),
  handler: async (values) => {
    const forms = formsOf(values);
    const [{ chosenOf, servedOf }, { adaptedModels }, { exportAdapter }, { modelCard }, { readRunFacts }, { runAround }, { ensureAddon }] = await Promise.all([
      import("../served.js"),
      import("../../serve/choose-model.js"),
      import("../../exchange/export-adapter.js"),
      import("../../exchange/model-card.js"),
      import("../../exchange/run-facts.js"),
      import("../../serve/served-models.js"),
      import("../../native/build.js"),
    ]);
    const chosen = values.all ? adaptedModels(await servedOf(values), values.arm) : [(await chosenOf(values)).chosen].filter((model) => model !== undefined);
    if (chosen.length === 0) throw problemError("CONFIG_INVALID", { subject: values.subject, expected: "a run with adapters, or a GGUF adapter", received: "none" });
    const { addon } = await ensureAddon({ onProgress: (line) => process.stderr.write(`${line}\n`) });
    const written = [];
    for (const { id, files } of chosen) {
      const run = runAround(resolve(files.adapterPath));
      const facts = run === undefined ? undefined : await readRunFacts(run, id);
      const name = `${run === undefined ? "" : `${basename(run.folder)}-`}${id.replaceAll("/", "-")}`;
      const folder = values.all ? join(values.out ?? join("exports", basename(run?.folder ?? id)), id) : (values.out ?? join("exports", name));
      const { files: made } = await exportAdapter(addon, {
        ...files,
        folder,
        forms,
        baseModelName: values["base-name"],
        numThreads: values["num-threads"],
        describe: (exported) => modelCard(exported, facts),
      });
      written.push({ adapter: id, folder, files: made });
    }
    print(written, values.json);
  },
};

function formsOf({ gguf, peft, merged }: ExportArguments): ExportForms {
  if (gguf === undefined && peft === undefined && merged === undefined) return { gguf: "f32", peft: "F32" };
  return { peft, merged, ...(gguf === undefined ? {} : { gguf: gguf.toLowerCase() as AdapterFileType }) };
}

interface Written {
  readonly adapter: string;
  readonly folder: string;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
}

function print(written: readonly Written[], json: boolean): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ exported: written })}\n`);
    return;
  }
  for (const { adapter, folder, files } of written) {
    process.stdout.write(`${printable(adapter)} in ${folder}\n${[...files.map(({ name, bytes }) => `  ${name}  ${formatBytes(bytes)}`), "  README.md"].join("\n")}\n`);
  }
}
