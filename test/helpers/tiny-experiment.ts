/** A whole experiment small enough for tests: a tiny random model, six clients with skewed sizes, and its file. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeTinyGguf } from "../fixtures/tiny-gguf.js";

/** A chat format of a few tokens, so that samples stay short. */
const CHAT_TEMPLATE =
  "{% for message in messages %}" +
  "{% if message['role'] == 'user' %}{{ 'Q' + message['content'] }}{% else %}{{ 'A' + message['content'] + eos_token }}{% endif %}" +
  "{% endfor %}{% if add_generation_prompt %}{{ 'A' }}{% endif %}";

/** Client ids that a careless program would reorder (whole numbers) or use as a path. */
const CLIENT_SIZES: readonly (readonly [string, number])[] = [
  ["42", 9],
  ["ana", 4],
  ["7", 2],
  ["../up", 3],
  ["Zoë 北", 6],
  ["b", 5],
];

export interface TinyExperiment {
  readonly folder: string;
  /** The experiment file. */
  readonly file: string;
  readonly numClients: number;
}

/** Writes model, data and an experiment with two arms; `changes` are YAML lines put at the end of the file. */
export function writeTinyExperiment(folder: string, changes: readonly string[] = []): TinyExperiment {
  writeTinyGguf(join(folder, "tiny.gguf"), { chatTemplate: CHAT_TEMPLATE });
  // Written by hand, since an object would sort the ids that look like numbers.
  const users = CLIENT_SIZES.map(([id, size]) => {
    const samples = Array.from({ length: size }, (_, index) => ({
      instruction: `${id.slice(0, 1)}${String(index)}+1`,
      response: ` ${String(index + 1)}`,
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
  return { folder, file, numClients: CLIENT_SIZES.length };
}
