/** `chat <subject>`: talks with a base model and an adapter of it side by side, in a terminal, over standard input, or once with --prompt. */
import { availableParallelism } from "node:os";
import { createInterface } from "node:readline/promises";
import type { CommandModule, InferredOptionTypes } from "yargs";
import { GENERATION_DEVICES } from "../../config/names.js";
import { TEMPLATE_NAMES } from "../../data/prompt-template.js";
import { isFedllmError, problemError } from "../../errors.js";
import { printable } from "../../report/format.js";
import type { ChatAnswer, SideBySide, Speaker } from "../../serve/side-by-side.js";
import { choiceOptions } from "../choice-options.js";
import { listenForInterrupt } from "../interrupt.js";

const chatOptions = {
  ...choiceOptions,
  prompt: { type: "string", requiresArg: true, describe: "ask this once, print the answers and end" },
  system: { type: "string", requiresArg: true, describe: "text that goes before the first question" },
  "adapter-only": { type: "boolean", default: false, describe: "leave the base model out" },
  template: { choices: TEMPLATE_NAMES, requiresArg: true, describe: "how conversations are written (default: the run's, or the model file's own)" },
  "max-tokens": { type: "number", default: 256, requiresArg: true, describe: "most tokens of an answer" },
  temperature: { type: "number", default: 0, requiresArg: true, describe: "0: always the likeliest token" },
  "top-p": { type: "number", default: 1, requiresArg: true, describe: "of the likeliest tokens with this much probability" },
  "top-k": { type: "number", default: 0, requiresArg: true, describe: "of so many likeliest tokens; 0: all" },
  seed: { type: "number", default: 1, requiresArg: true, describe: "of the random draws; the same for both" },
  "context-length": { type: "number", default: 4096, requiresArg: true, describe: "tokens of the conversation; less where the model has less" },
  device: { choices: GENERATION_DEVICES, default: "cpu", requiresArg: true, describe: "what computes" },
  "num-threads": { type: "number", default: availableParallelism(), requiresArg: true, describe: "compute threads" },
  json: { type: "boolean", default: false, describe: "one JSON line with all answers for each question" },
} as const;

type ChatArguments = InferredOptionTypes<typeof chatOptions> & { readonly subject: string };

const HELP = "Type a question. /reset forgets the conversation, /quit or Ctrl-D ends.";

export const chatCommand: CommandModule<object, ChatArguments> = {
  command: "chat <subject>",
  describe: "talk with a base model and an adapter of it side by side",
  builder: (argv) =>
    argv
      .positional("subject", { type: "string", demandOption: true, describe: "run (folder or name below ./runs), GGUF adapter, GGUF model or builtin:fedllm-tiny" })
      .options(chatOptions)
      .example("$0 chat runs/my-study --arm q4_k_m-fedavg", "base and adapter, question by question")
      .example("$0 chat runs/my-study --arm q4_k_m-local --client ana", "a client's own adapter")
      .example('$0 chat runs/my-study --arm f16-fedavg --round 50 --prompt "Hello" --json', "the adapter after round 50, one question, for a script")
      .example("$0 chat adapter.gguf --model base.gguf < questions.txt", "a question a line"),
  handler: async (values) => {
    checkNumbers(values);
    const [{ chosenOf }, { openLlama }, { ContextPool }, { SideBySide: Conversation }] = await Promise.all([
      import("../served.js"),
      import("../../generation/llama.js"),
      import("../../generation/context-pool.js"),
      import("../../serve/side-by-side.js"),
    ]);
    const { models, chosen } = await chosenOf(values);
    const [first] = models;
    if (first === undefined) throw problemError("CONFIG_INVALID", { subject: values.subject, expected: "a model", received: "none" });
    const { files: { modelPath }, ...description } = chosen ?? first;
    const base: Speaker = { label: "base", model: { ...description, files: { modelPath } } };
    const adapter: Speaker[] = chosen === undefined ? [] : [{ label: chosen.id, model: chosen }];
    const speakers = values["adapter-only"] && adapter.length > 0 ? adapter : [base, ...adapter];
    const open = await openLlama(values.device);
    const { "context-length": contextLength, "num-threads": numThreads, "max-tokens": maxNewTokens, temperature, "top-p": topP, "top-k": topK, seed, system } = values;
    const pool = new ContextPool(open, { parallel: 1, maxContexts: 2, contextLength, numThreads });
    const interrupt = listenForInterrupt({ onFirst: () => undefined, onSecond: () => undefined });
    try {
      const chat = new Conversation(pool, speakers, { maxNewTokens, temperature, topP, topK, seed, system });
      const ask = (question: string) => answer(chat, question, values.json, interrupt.signal);
      if (values.prompt === undefined) await talk(chat, ask, interrupt.signal);
      else await ask(values.prompt);
    } finally {
      interrupt.dispose();
      await pool.dispose();
      await open.llama.dispose();
    }
  },
};

const LIMITS: Readonly<Record<string, readonly [min: number, max: number, isWhole: boolean]>> = {
  "max-tokens": [1, 1 << 20, true],
  temperature: [0, 2, false],
  "top-p": [0, 1, false],
  "top-k": [0, 1 << 20, true],
  seed: [0, 2 ** 32 - 2, true],
  "context-length": [16, 1 << 20, true],
  "num-threads": [1, 512, true],
};

function checkNumbers(values: Readonly<Record<string, unknown>>): void {
  for (const [name, [min, max, isWhole]] of Object.entries(LIMITS)) {
    const value = Number(values[name]);
    if (value >= min && value <= max && (!isWhole || Number.isInteger(value))) continue;
    throw problemError("CONFIG_INVALID", { subject: `--${name}`, expected: `a ${isWhole ? "whole number" : "number"} from ${String(min)} to ${String(max)}`, received: String(values[name]) });
  }
}

/** Questions line by line until the input ends; a question that cannot be answered ends only itself in a terminal. */
async function talk(chat: SideBySide, ask: (question: string) => Promise<void>, signal: AbortSignal): Promise<void> {
  const isTerminal = process.stdin.isTTY && process.stdout.isTTY;
  const lines = createInterface({ input: process.stdin, ...(isTerminal ? { output: process.stdout, prompt: "> " } : {}) });
  // In a terminal Ctrl-C comes as a key; a line that is being typed is given up, as is the program.
  lines.on("SIGINT", () => {
    process.kill(process.pid, "SIGINT");
  });
  signal.addEventListener("abort", () => {
    lines.close();
  });
  if (isTerminal) process.stdout.write(`${HELP}\n`);
  if (isTerminal) lines.prompt();
  for await (const line of lines) {
    const question = line.trim();
    if (question === "/quit" || question === "/exit") break;
    if (question === "/reset") chat.reset();
    else if (question === "/help") process.stdout.write(`${HELP}\n`);
    else if (question !== "") await askKindly(ask, question, isTerminal);
    if (isTerminal) lines.prompt();
  }
  lines.close();
  if (signal.aborted) throw signal.reason;
}

async function askKindly(ask: (question: string) => Promise<void>, question: string, isTerminal: boolean): Promise<void> {
  try {
    await ask(question);
  } catch (error) {
    if (!isTerminal || !isFedllmError(error, "CONFIG_INVALID")) throw error;
    process.stdout.write(`\n${error.message}\n`);
  }
}

async function answer(chat: SideBySide, question: string, json: boolean, signal: AbortSignal): Promise<void> {
  if (json) {
    const answers = await chat.ask(question, () => undefined, signal);
    process.stdout.write(`${JSON.stringify({ question, answers })}\n`);
    return;
  }
  let current: string | undefined;
  const begin = (speaker: string) => {
    if (speaker === current) return;
    process.stdout.write(`${current === undefined ? "" : "\n\n"}${printable(speaker)}: `);
    current = speaker;
  };
  const answers = await chat.ask(
    question,
    (speaker, piece) => {
      begin(speaker);
      process.stdout.write(safe(piece));
    },
    signal,
  );
  process.stdout.write(`\n${ends(answers)}\n`);
}

/** Lines and tabs stay; other control characters of a model do not reach the terminal. */
function safe(text: string): string {
  return text.replaceAll(/[^\n\t]+/gu, printable);
}

function ends(answers: readonly ChatAnswer[]): string {
  const silent = answers.filter(({ text }) => text === "").map(({ speaker }) => `${printable(speaker)} has answered nothing.\n`);
  const cut = answers.filter(({ finish }) => finish === "length").map(({ speaker }) => printable(speaker));
  return `${silent.join("")}${cut.length === 0 ? "" : `(${cut.join(" and ")} cut at the limit of tokens)\n`}`;
}
