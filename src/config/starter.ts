/** A first experiment file, with a comment at every field that one is likely to change. */
import { dirname, relative, resolve } from "node:path";
import type { OBJECTIVES } from "./names.js";

export interface StarterChoices {
  readonly name: string;
  /** GGUF file, builtin:… or known:…; a path from the working folder. */
  readonly model: string;
  /** Client data, or dataset:…; absent: synthetic data. */
  readonly data?: string | undefined;
  /** sft: answers to instructions; dpo: which of two answers is preferred. */
  readonly objective: (typeof OBJECTIVES)[number];
  readonly template: string;
  readonly strategies: readonly string[];
  readonly precisions: readonly string[];
  readonly numRounds: number;
  readonly clientsPerRound: number;
  readonly localSteps: number;
  readonly seed: number;
}

/** The built-in model takes larger steps than models of billions of weights, for which the defaults are. */
const TINY_RATES = { initialLearningRate: "1.0e-2", finalLearningRate: "2.0e-4" };
const USUAL_RATES = { initialLearningRate: "2.0e-4", finalLearningRate: "1.0e-5" };

/** Preferences take smaller steps. */
const TINY_PREFERENCE_RATES = { initialLearningRate: "3.0e-3", finalLearningRate: "6.0e-5" };
const PREFERENCE_RATES = { initialLearningRate: "1.0e-4", finalLearningRate: "1.0e-5" };

/** The text of the file at a path, in whose folder its own paths begin. */
export function starterExperiment(choices: StarterChoices, file: string): string {
  const { name, model, data, objective, template, strategies, precisions, numRounds, clientsPerRound, localSteps, seed } = choices;
  const [tiny, usual] = objective === "dpo" ? [TINY_PREFERENCE_RATES, PREFERENCE_RATES] : [TINY_RATES, USUAL_RATES];
  const rates = model.startsWith("builtin:") ? tiny : usual;
  const lines = [
    "# An experiment of fedllm-native. `fedllm-native config schema` lists every field; what is left out has its default.",
    "#   fedllm-native run THIS_FILE --dry-run    says what it would train, send and need",
    "#   fedllm-native run THIS_FILE              trains it; the result goes to runs/",
    `name: ${quote(name)}`,
    "# Every random draw comes from it: the same seed gives the same bits on the same machine.",
    `seed: ${String(seed)}`,
    "# Base model: a GGUF file (F16 if you want to compare precisions), known:NAME for one in ./models, or the small built-in one.",
    `model: ${quote(fromFile(model, file))}`,
    "data:",
    ...dataLines(data, objective, file),
    "  # How a sample becomes text: alpaca, vicuna_v1.1, or chat, the model's own template.",
    `  template: ${template}`,
    "  # Longer samples are cut, and counted.",
    "  maxLength: 512",
    ...(objective === "dpo" ? ["  # Tokens that a prompt keeps of them.", "  maxPromptLength: 128"] : []),
    "  # A part of each client's samples that nobody trains on; quality is measured there.",
    "  heldOutFraction: 0.1",
    "# The adapter: its output is scaled by loraAlpha / rank. More modules learn more and send more.",
    "lora: { rank: 8, loraAlpha: 16, dropout: 0.05, targetModules: [attn_q, attn_v] }",
    "training:",
    ...(objective === "dpo" ? ["  # Direct preference optimization: the policy is compared with the base model. An adapter of a run before may be the start (startAdapter).", "  objective: dpo"] : []),
    "  # Exchanges between server and clients.",
    `  numRounds: ${String(numRounds)}`,
    "  # Clients drawn for each round; all, if there are fewer.",
    `  clientsPerRound: ${String(clientsPerRound)}`,
    "  # Optimizer steps of a client in a round, and samples of each step.",
    `  localSteps: ${String(localSteps)}`,
    "  batchSize: 8",
    "  # A cosine from the first to the last round. Try a third and three times of it before trusting a result.",
    `  initialLearningRate: ${rates.initialLearningRate}`,
    `  finalLearningRate: ${rates.finalLearningRate}`,
    "evaluation:",
    "  # After every so many rounds, and after the last.",
    `  every: ${String(Math.max(1, Math.ceil(numRounds / 5)))}`,
    "  maxSamplesPerClient: 8",
    "# What is compared: every precision of the base with every strategy. source is the model file as it is.",
    "# local (each client alone) and centralized (all data in one place) are the baselines to beat and to reach.",
    "arms:",
    `  precisions: [${precisions.join(", ")}]`,
    `  strategies: [${strategies.map(quote).join(", ")}]`,
  ];
  return `${lines.join("\n")}\n`;
}

function dataLines(data: string | undefined, objective: StarterChoices["objective"], file: string): readonly string[] {
  const [form, profile] = objective === "dpo" ? ["{user: [{prompt, chosen, rejected}, ...]}", "demo, kind: preference"] : ["{user: [{instruction, response}, ...]}", "demo"];
  if (data === undefined) {
    return [
      `  # Synthetic clients, to try things at once. For data of your own: \`train: clients.json\`, ${form};`,
      "  # `fedllm-native data import` makes such a file of many other forms.",
      `  generated: { profile: ${profile}, seed: 1 }`,
    ];
  }
  return [`  # ${form}; \`fedllm-native data inspect FILE\` shows what is in it.`, `  train: ${quote(fromFile(data, file))}`];
}

/** Names of built-in things stay; a path of the working folder becomes one of the file's folder. */
function fromFile(value: string, file: string): string {
  if (/^(?:builtin|known|dataset):/u.test(value) || value.startsWith("/")) return value;
  return relative(dirname(resolve(file)), resolve(value));
}

/** As JSON where YAML could take it for something else. */
function quote(text: string): string {
  return /^[A-Za-z./][A-Za-z0-9._/-]*$/u.test(text) && !/^(?:true|false|null|yes|no|on|off)$/iu.test(text) ? text : JSON.stringify(text);
}
