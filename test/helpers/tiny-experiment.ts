/** A whole experiment small enough for tests: a tiny random model, six clients with skewed sizes, and its file. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig, parseSetOption } from "../../src/config/load.js";
import { writeTinyGguf, type TinyModelOptions } from "../fixtures/tiny-gguf.js";

/** A chat format of a few tokens, so that samples stay short. */
const CHAT_TEMPLATE =
  "{% for message in messages %}" +
  "{% if message['role'] == 'user' %}{{ 'Q' + message['content'] }}{% else %}{{ 'A' + message['content'] + eos_token }}{% endif %}" +
  "{% endfor %}{% if add_generation_prompt %}{{ 'A' }}{% endif %}";

/** Client ids that a careless program would reorder (whole numbers) or use as a path. */
const CLIENTS: readonly (readonly [id: string, size: number, language: string])[] = [
  ["42", 9, "French"],
  ["ana", 4, "Spanish"],
  ["7", 2, "English"],
  ["../up", 3, "German"],
  ["Zoë 北", 6, "Spanish"],
  ["b", 5, "English"],
];

export interface TinyExperiment {
  readonly folder: string;
  /** The experiment file. */
  readonly file: string;
  readonly numClients: number;
}

/** Writes model, data and an experiment with two arms; `changes` are YAML lines put at the end of the file. */
export function writeTinyExperiment(folder: string, changes: readonly string[] = [], model: TinyModelOptions = {}): TinyExperiment {
  writeTinyGguf(join(folder, "tiny.gguf"), { chatTemplate: CHAT_TEMPLATE, ...model });
  // Written by hand, since an object would sort the ids that look like numbers.
  const users = CLIENTS.map(([id, size, language]) => {
    const samples = Array.from({ length: size }, (_, index) => ({
      instruction: `${id.slice(0, 1)}${String(index)}+1`,
      response: ` ${String(index + 1)}`,
      language,
    }));
    return `${JSON.stringify(id)}: ${JSON.stringify(samples)}`;
  });
  writeFileSync(join(folder, "clients.json"), `{${users.join(",\n")}}`);
  const file = join(folder, "experiment.yaml");
  const lines = [
    "name: tiny",
    "seed: 3",
    "model: tiny.gguf",
    "data: {train: clients.json, heldOutFraction: 0.34, template: chat, maxLength: 32}",
    "lora: {rank: 2, loraAlpha: 4}",
    "training: {numRounds: 3, clientsPerRound: 3, localSteps: 2, batchSize: 2, microBatchTokens: 64, initialLearningRate: 1.0e-2}",
    "numThreads: 1",
    ...(changes.some((line) => line.startsWith("deterministic:")) ? [] : ["deterministic: true"]),
    ...(changes.some((line) => line.startsWith("arms:")) ? [] : ["arms: {precisions: [F16], strategies: [local, fedavg]}"]),
    ...changes,
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  return { folder, file, numClients: CLIENTS.length };
}

/** The configuration of an experiment file with `--set` settings. */
export const configOf = async (file: string, ...settings: string[]) =>
  (await loadConfig({ file, overrides: settings.map((text) => parseSetOption(text)) })).config;
