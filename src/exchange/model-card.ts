/** The README.md beside an exported adapter, in the form that model hubs read: what it was made of, how, how good it was, how to use it. Pure. */
import { formatBytes, formatCount } from "../report/format.js";
import type { ExportFacts } from "./export-adapter.js";
import type { RunFacts } from "./run-facts.js";

/** The card; without a run only what the files themselves say. */
export function modelCard(facts: ExportFacts, run: RunFacts | undefined): string {
  const sections = [frontMatter(facts, run), heading(run), files(facts), ...(run === undefined ? [] : [training(run), data(run), results(run)]), use(facts, run), ...(run === undefined ? [] : [madeBy(run)])];
  return `${sections.map((lines) => lines.join("\n")).join("\n\n")}\n`;
}

function frontMatter({ baseModelName, files: written }: ExportFacts, run: RunFacts | undefined): string[] {
  const hasPeft = written.some(({ name }) => name.endsWith(".safetensors"));
  return [
    "---",
    `base_model: ${JSON.stringify(baseModelName)}`,
    ...(hasPeft ? ["library_name: peft"] : []),
    "pipeline_tag: text-generation",
    `tags: [lora, federated-learning, fedllm-native${run === undefined ? "" : `, ${JSON.stringify(run.strategy)}`}]`,
    "---",
  ];
}

function heading(run: RunFacts | undefined): string[] {
  if (run === undefined) return ["# LoRA adapter", "", "Written by fedllm-native from an adapter file without a run, so nothing is known of its training."];
  const made = run.data.isSynthetic ? " It was trained on synthetic data, made to try programs and not to be useful." : "";
  return [`# ${run.name}: ${run.id}`, "", `A LoRA adapter, trained with ${run.strategy} by fedllm-native on a ${run.arm.precision === "source" ? "" : `${run.arm.precision} `}GGUF base that stayed as it was.${made}`];
}

function files({ baseModelName, architecture, rank, loraAlpha, targetModules, numParameters, files: written }: ExportFacts): string[] {
  return [
    "| | |",
    "|---|---|",
    `| base model | ${baseModelName} (${architecture}) |`,
    `| adapter | rank ${String(rank)}, loraAlpha ${String(loraAlpha)}, on ${targetModules.join(", ")}; ${formatCount(numParameters)} parameters |`,
    ...written.map(({ name, bytes }) => `| \`${name}\` | ${formatBytes(bytes)} |`),
  ];
}

function training({ arm, strategy, objective, template, record }: RunFacts): string[] {
  const { training: t, lora } = arm;
  const options = Object.entries(arm.strategyOptions).map(([name, value]) => `${name} ${JSON.stringify(value)}`);
  return [
    "## Training",
    "",
    "| | |",
    "|---|---|",
    `| strategy | ${strategy}${options.length === 0 ? "" : ` (${options.join(", ")})`} |`,
    `| objective | ${objective}, template ${template} |`,
    `| rounds | ${String(t.numRounds)}, ${String(t.clientsPerRound)} clients each, ${String(t.localSteps)} steps of ${String(t.batchSize)} samples |`,
    `| learning rate | ${String(t.initialLearningRate)} to ${String(t.finalLearningRate)}, AdamW |`,
    `| dropout | ${String(lora.dropout)} |`,
    `| base precision | ${arm.precision}, SHA-256 of the file \`${record.hashes[`model.${arm.precision}`] ?? record.hashes["model"] ?? "unknown"}\` |`,
    `| seed | ${String(record.seed)} |`,
    `| started | ${record.startedAt} |`,
  ];
}

function data({ data: { name, sha256, licence } }: RunFacts): string[] {
  return [
    "## Data",
    "",
    `${name}${sha256 === undefined ? "" : `, SHA-256 \`${sha256}\``}.`,
    licence === undefined ? "Its licence is not known to the program; whoever publishes this adapter has to look." : `Licence: [${licence.name}](${licence.url}), ${licence.note}.`,
  ];
}

function results({ metrics, id }: RunFacts): string[] {
  if (metrics.length === 0) return ["## Results", "", "The run has no held-out results of this arm."];
  const note = id.includes("/") ? ["", "These are the arm's figures, not those of this one adapter."] : [];
  return [
    "## Results",
    "",
    "On the run's held-out samples:",
    "",
    "| metric | round | value |",
    "|---|---:|---:|",
    ...metrics.map(({ metric, round, value }) => `| ${metric} | ${String(round)} | ${String(Number(value.toPrecision(6)))} |`),
    ...note,
  ];
}

function use({ baseModelName, files: written }: ExportFacts, run: RunFacts | undefined): string[] {
  const names = written.map(({ name }) => name);
  const adapter = names.find((name) => name.startsWith("adapter-"));
  const merged = names.find((name) => name.startsWith("merged-"));
  const blocks = [
    ...(adapter === undefined ? [] : [["With llama.cpp, or with this program:", "", "```", `llama-cli -m BASE.gguf --lora ${adapter}`, `fedllm-native chat ${adapter} --model BASE.gguf`, "```"]]),
    ...(merged === undefined ? [] : [["The merged file is a whole model:", "", "```", `llama-cli -m ${merged}`, "```"]]),
    ...(names.includes("adapter_config.json")
      ? [["With PEFT:", "", "```python", "from peft import PeftModel", "from transformers import AutoModelForCausalLM", `base = AutoModelForCausalLM.from_pretrained(${JSON.stringify(baseModelName)})  # the base model in transformers' form`, 'model = PeftModel.from_pretrained(base, "THIS FOLDER")', "```"]]
      : []),
    ...(run === undefined ? [] : [[`Prompts are written by the template \`${run.template}\`.`]]),
  ];
  return ["## Use", "", blocks.map((lines) => lines.join("\n")).join("\n\n")];
}

function madeBy({ record }: RunFacts): string[] {
  const { versions, machine } = record;
  return [
    "## Made by",
    "",
    `fedllm-native ${versions.fedllmNative}, llama.cpp ${versions.llamaCpp}, Node ${versions.node}, on ${machine.device} (${machine.cpu}).`,
    "The run's folder has the whole configuration; `fedllm-native reproduce RUN` trains it again and compares.",
  ];
}
