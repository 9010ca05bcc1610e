/** `init [file]`: writes a commented experiment after a few questions, or at once with --yes. */
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createInterface } from "node:readline/promises";
import type { CommandModule, InferredOptionTypes } from "yargs";
import { OBJECTIVES } from "../../config/names.js";
import { TEMPLATE_NAMES } from "../../data/prompt-template.js";
import { problemError } from "../../errors.js";
import { FIRST_STRATEGIES } from "../../federated/strategies/registry.js";
import type { StarterChoices } from "../../config/starter.js";

const initOptions = {
  yes: { type: "boolean", alias: "y", default: false, describe: "ask nothing: what no option says has its default" },
  name: { type: "string", requiresArg: true, describe: "name of the experiment (my-study)" },
  model: { type: "string", requiresArg: true, describe: "GGUF file, known:NAME or builtin:fedllm-tiny (the default)" },
  data: { type: "string", requiresArg: true, describe: "file of client data, or dataset:NAME (default: synthetic data)" },
  objective: { choices: OBJECTIVES, requiresArg: true, describe: "sft, or dpo to learn which of two answers is preferred (sft)" },
  template: { choices: TEMPLATE_NAMES, requiresArg: true, describe: "how samples become text (default: chat with the built-in model, else alpaca)" },
  strategies: { type: "array", string: true, requiresArg: true, describe: "strategies to compare (local fedavg)" },
  precisions: { type: "array", string: true, requiresArg: true, describe: "precisions of the base (source)" },
  "num-rounds": { type: "number", requiresArg: true, describe: "rounds (20)" },
  "clients-per-round": { type: "number", requiresArg: true, describe: "clients drawn per round (4)" },
  "local-steps": { type: "number", requiresArg: true, describe: "optimizer steps per client and round (10)" },
  seed: { type: "number", requiresArg: true, describe: "seed of every random draw (2023)" },
} as const;

type InitArguments = InferredOptionTypes<typeof initOptions> & { readonly file: string };

export const initCommand: CommandModule<object, InitArguments> = {
  command: "init [file]",
  describe: "write a commented experiment file after a few questions",
  builder: (argv) =>
    argv
      .positional("file", { type: "string", default: "experiment.yaml", describe: "file to write; must not be there yet" })
      .options(initOptions)
      .example("$0 init", "asks for data, model, strategies and rounds")
      .example("$0 init --yes", "synthetic data and the built-in model: runs at once")
      .example("$0 init study.yaml --yes --data clients.json --model base-f16.gguf --precisions F16 Q4_K_M", "for scripts"),
  handler: async (values) => {
    const { file } = values;
    if (existsSync(file)) throw problemError("CONFIG_INVALID", { subject: "init", expected: "a file that is not there yet", received: file, remedy: "Name another one: fedllm-native init other.yaml" });
    const [{ starterExperiment }, { loadConfig }, { writeFileAtomic }] = await Promise.all([
      import("../../config/starter.js"),
      import("../../config/load.js"),
      import("../../util/atomic-file.js"),
    ]);
    const given = values.yes ? values : await askFor(values);
    const text = starterExperiment(choicesOf(given), file);
    await writeFileAtomic(file, text);
    try {
      const { config } = await loadConfig({ file });
      process.stdout.write(`${file} is written: arms ${config.arms.map(({ name }) => name).join(", ")}. Next:\n\n  fedllm-native run ${file} --dry-run\n  fedllm-native run ${file}\n`);
    } catch (error) {
      await rm(file, { force: true });
      throw error;
    }
  },
};

function choicesOf(values: InitArguments): StarterChoices {
  const { name = "my-study", model = "builtin:fedllm-tiny", data, seed = 2023 } = values;
  return {
    name,
    model,
    data,
    objective: values.objective ?? "sft",
    template: values.template ?? (model.startsWith("builtin:") ? "chat" : "alpaca"),
    strategies: values.strategies ?? FIRST_STRATEGIES,
    precisions: values.precisions ?? ["source"],
    numRounds: values["num-rounds"] ?? 20,
    clientsPerRound: values["clients-per-round"] ?? 4,
    localSteps: values["local-steps"] ?? 10,
    seed,
  };
}

function isObjective(word: string): word is (typeof OBJECTIVES)[number] {
  return (OBJECTIVES as readonly string[]).includes(word);
}

/** Asks for what no option has said; an empty answer takes the default. Input that ends takes all defaults that are left. */
async function askFor(values: InitArguments): Promise<InitArguments> {
  const lines = createInterface({ input: process.stdin, output: process.stdout, terminal: process.stdin.isTTY });
  const answers = lines[Symbol.asyncIterator]() as AsyncIterator<string, undefined>;
  const ask = async (known: string | undefined, question: string): Promise<string | undefined> => {
    if (known !== undefined) return known;
    process.stdout.write(`${question}: `);
    const next = await answers.next();
    const text = next.done === true ? "" : next.value.trim();
    return text === "" ? undefined : text;
  };
  const list = (text: string | undefined) => text?.split(/[\s,]+/u).filter((word) => word !== "");
  try {
    const objective = (await ask(values.objective, "Learn from answers (sft) or from preferences (dpo) [sft]")) ?? "sft";
    if (!isObjective(objective)) throw problemError("CONFIG_INVALID", { subject: "objective", expected: OBJECTIVES.join(" or "), received: JSON.stringify(objective) });
    const name = await ask(values.name, "Name of the experiment [my-study]");
    const data = await ask(values.data, "Client data, a file or dataset:NAME [synthetic data]");
    const model = await ask(values.model, "Base model, a GGUF file or known:NAME [builtin:fedllm-tiny]");
    const strategies = list(await ask(values.strategies?.join(" "), "Strategies to compare [local fedavg]"));
    const precisions = list(await ask(values.precisions?.join(" "), "Precisions of the base, such as F16 Q8_0 Q4_K_M [source]"));
    const rounds = await ask(values["num-rounds"]?.toString(), "Rounds [20]");
    return { ...values, objective, name, data, model, strategies, precisions, "num-rounds": rounds === undefined ? undefined : Number(rounds) };
  } finally {
    lines.close();
  }
}
