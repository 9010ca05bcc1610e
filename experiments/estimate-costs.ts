/**
 * Estimates what the experiments named after FedLLM-Bench's data sets cost, as the tables of their README files:
 *   node --import tsx experiments/estimate-costs.ts [name = all]
 *
 * Tokens are those of the plan without data and model (`--dry-run`). A token costs 4 operations for each number N that takes part in
 * matrix products (forward, and back through the frozen weights), 6 where preference training computes its reference as well; what
 * attention and the adapter add is left out, as are evaluation and memory too short to keep what the way back needs (2N more). The
 * share of a machine's F32 products that a step reaches was measured on the processor (bench/results/cpu-peers.md); the rates of
 * the machines here are assumptions about typical ones.
 */
import { pathToFileURL } from "node:url";
import { locateExperiment } from "../src/config/builtin.js";
import { loadConfig } from "../src/config/load.js";
import { KNOWN_MODELS, knownLayout, numProductWeights, numWeights } from "../src/config/known-models.js";
import { formatBytes, formatCount, formatMarkdownTable } from "../src/report/format.js";
import { planExperiment } from "../src/run/plan.js";

/** Base models that suit each data set, smallest first. */
const SUITED: Readonly<Record<string, readonly string[]>> = {
  // All of them have been trained on most of the eight languages; Llama 2 on English in the main, as in the paper.
  "fed-aya": ["qwen3-0.6b", "qwen3-1.7b", "qwen3-4b", "llama-2-7b", "qwen3-8b"],
  "fed-chatbot-it": ["smollm2-135m", "smollm2-360m", "qwen3-0.6b", "llama-3.2-1b", "llama-3.2-3b", "llama-2-7b", "llama-3.1-8b"],
  // A quarter of the prompts is not in English.
  "fed-wildchat": ["smollm2-135m", "qwen3-0.6b", "llama-3.2-1b", "qwen3-1.7b", "qwen3-4b", "llama-2-7b", "qwen3-8b"],
  "fed-wildchat-multi": ["smollm2-135m", "qwen3-0.6b", "llama-3.2-1b", "qwen3-1.7b", "qwen3-4b", "llama-2-7b", "qwen3-8b"],
  // Preferences are learned by models that answer already: instruct versions, or Alpaca.
  "fed-chatbot-pa": ["smollm2-135m", "smollm2-360m", "qwen3-0.6b", "llama-3.2-1b", "llama-3.2-3b", "alpaca-7b", "llama-3.1-8b"],
};

/** The measured part of a machine's F32 products that a training step reaches. */
const MEASURED_SHARE = 0.83;
/** No GPU has been measured; a third is cautious for products of this size. */
const GPU_SHARE = 0.33;

/** Operations per second of training. */
const MACHINES: readonly (readonly [name: string, rate: number])[] = [
  // Eight AVX2 cores at 40 GFLOP/s each under load; the measured AVX-512 cores, twice as wide and cooled better, make 100.
  ["laptop CPU", 8 * 40e9 * MEASURED_SHARE],
  // A card of 10 and one of 80 TFLOP/s in F32.
  ["laptop GPU", 10e12 * GPU_SHARE],
  ["workstation", 80e12 * GPU_SHARE],
];

const OPERATIONS = { sft: 4, dpo: 6 } as const;
const Q8_0_BITS = 8.5;

/** The lines of an experiment's table, for FedAvg; the other federated methods compute the same. */
export async function costTable(name: string): Promise<string[]> {
  // A folder without data and models, so that the estimate is the same on every machine.
  const { config } = await loadConfig({ ...locateExperiment(name), variant: "fedavg", workingFolder: "/nowhere" });
  const plan = await planExperiment(config);
  const [arm] = plan.arms;
  const [written] = config.arms;
  if (arm === undefined || written === undefined) throw new Error(`${name}/fedavg has no arm`);
  const operations = OPERATIONS[config.training.objective];
  const rows = (SUITED[name] ?? []).map((modelName) => {
    const model = KNOWN_MODELS.get(modelName);
    if (model === undefined) throw new Error(`no known model ${modelName}`);
    const { numParameters } = knownLayout(model, written.lora);
    const work = arm.estimatedTokens * operations * numProductWeights(model);
    return [
      modelName,
      formatBytes((numWeights(model) * Q8_0_BITS) / 8),
      formatCount(numParameters),
      formatBytes(4 * numParameters),
      ...MACHINES.map(([, rate]) => formatTime(work / rate)),
    ];
  });
  const right = (title: string) => ({ title, align: "right" as const });
  return [
    `${formatCount(arm.numSteps)} steps, ${formatCount(arm.estimatedTokens)} tokens (estimated), ${String(arm.numRounds)} rounds of ${String(arm.clientsPerRound)} clients:`,
    "",
    ...formatMarkdownTable(
      [{ title: "base model" }, ...["weights, Q8_0", "trained", "sent each way, client and round", ...MACHINES.map(([machine]) => machine)].map(right)],
      rows,
    ),
  ];
}

/** Two figures at most; more would say more than is known. */
function formatTime(seconds: number): string {
  const units = [["days", 86_400], ["h", 3600]] as const;
  const [unit, size] = units.find(([, length]) => seconds >= 2 * length) ?? (["min", 60] as const);
  return `${String(Math.max(1, Number((seconds / size).toPrecision(2))))} ${unit}`;
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [, , wanted] = process.argv;
  for (const name of wanted === undefined ? Object.keys(SUITED) : [wanted]) process.stdout.write(`${name}\n\n${(await costTable(name)).join("\n")}\n\n`);
}
