/**
 * The command line as a whole: the list of commands, strict parsing with suggestions, and the one place where a failure
 * becomes text and an exit code. Each command is a file in commands/ and loads what it needs when it runs, so that
 * --help starts at once.
 */
import { createRequire } from "node:module";
import yargs from "yargs";
import type { Argv, CommandModule, MiddlewareFunction } from "yargs";
import { suggest } from "../config/suggest.js";
import { FedllmError, problemError } from "../errors.js";
import { chatCommand } from "./commands/chat.js";
import { compareCommand } from "./commands/compare.js";
import { configCommand } from "./commands/config.js";
import { dashboardCommand } from "./commands/dashboard.js";
import { dataCommand } from "./commands/data.js";
import { evalCommand } from "./commands/eval.js";
import { doctorCommand } from "./commands/doctor.js";
import { exportCommand } from "./commands/export.js";
import { importCommand } from "./commands/import.js";
import { initCommand } from "./commands/init.js";
import { judgeCommand } from "./commands/judge.js";
import { modelCommand } from "./commands/model.js";
import { nativeCommand } from "./commands/native.js";
import { privacyCommand } from "./commands/privacy.js";
import { questionsCommand } from "./commands/questions.js";
import { reportCommand } from "./commands/report.js";
import { reportToCommand } from "./commands/report-to.js";
import { reproduceCommand } from "./commands/reproduce.js";
import { resumeCommand } from "./commands/resume.js";
import { runCommand } from "./commands/run.js";
import { runsCommand } from "./commands/runs.js";
import { serveCommand } from "./commands/serve.js";
import { sweepCommand } from "./commands/sweep.js";
import { transferCommand } from "./commands/transfer.js";
import { planCommand } from "./commands/plan.js";
import { CONFIG_OPTION_NAMES } from "./options.js";
import { EXIT_OK, describeFailure, exitCodeOf } from "./failure.js";

/** In the order of --help. */
export const COMMANDS = [
  initCommand,
  runCommand,
  resumeCommand,
  planCommand,
  sweepCommand,
  transferCommand,
  runsCommand,
  serveCommand,
  compareCommand,
  reportCommand,
  dashboardCommand,
  evalCommand,
  privacyCommand,
  reportToCommand,
  reproduceCommand,
  chatCommand,
  exportCommand,
  importCommand,
  dataCommand,
  questionsCommand,
  judgeCommand,
  modelCommand,
  doctorCommand,
  configCommand,
  nativeCommand,
] as unknown as readonly CommandModule[];

/** Parses and runs one command line; resolves with the exit code and never rejects. */
export async function runCli(argv: readonly string[]): Promise<number> {
  try {
    await buildParser(argv).parseAsync();
    return EXIT_OK;
  } catch (error) {
    process.stderr.write(`${describeFailure(error, { debug: argv.includes("--debug") })}\n`);
    return exitCodeOf(error);
  }
}

function buildParser(argv: readonly string[]): Argv {
  const parser = yargs([...argv])
    .scriptName("fedllm-native")
    .usage("$0 <command>\n\nFederated fine-tuning of language models: LoRA straight on quantized GGUF.")
    .command([...COMMANDS])
    .completion("completion", "print a completion script for bash or zsh")
    .option("debug", { type: "boolean", default: false, describe: "show stacks and causes of errors" })
    .epilogue("Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not reproduced, 130 interrupted (state saved).")
    .version(ownVersion())
    .alias("h", "help")
    .demandCommand(1, "Which command? See --help.")
    .strict()
    .middleware(refuseRepeated as unknown as MiddlewareFunction, true)
    // A flag is either given or not; --no-x and a.b flags would bypass the list of known ones.
    .parserConfiguration({ "boolean-negation": false, "dot-notation": false })
    .wrap(Math.min(110, process.stdout.columns || 80))
    .exitProcess(true);
  return parser.fail((message: string | null, error: Error | undefined) => {
    // yargs types the error as always there; for its own messages there is none.
    if (error !== undefined && !isYargsError(error)) throw error;
    throw new FedllmError("CONFIG_INVALID", withSuggestion(withUsage(message ?? error?.message ?? "wrong usage", argv), argv));
  });
}

/** What yargs knows of the options in force, which its types leave out. */
interface KnownOptions {
  getOptions(): { readonly array: readonly string[]; readonly alias: Readonly<Record<string, readonly string[]>> };
}

/**
 * Throws CONFIG_INVALID for an option that takes one value and was given several: which one counts is not for us to guess. Lists are
 * joined, and a flag may be repeated.
 */
function refuseRepeated(values: Readonly<Record<string, unknown>>, parser: Argv): void {
  const { array: named } = (parser as unknown as KnownOptions).getOptions();
  // Names with dashes are there a second time in camel case.
  const array = named.flatMap((name) => [name, name.replaceAll(/-([a-z])/gu, (_, letter: string) => letter.toUpperCase())]);
  const repeated = Object.entries(values).find(([name, value]) => name !== "_" && Array.isArray(value) && !array.includes(name));
  if (repeated === undefined) return;
  const [name, given] = repeated as [string, unknown[]];
  throw problemError("CONFIG_INVALID", { subject: `--${name}`, expected: "one value", received: `${String(given.length)} (${given.map(String).join(", ")})`, remedy: "Give it once" });
}

function isYargsError(error: Error): boolean {
  return error.name === "YError";
}

const COMMAND_WORDS = [
  ...["init", "reproduce", "report-to"],
  ...["chat", "plan", "sweep", "transfer"],
  ...["run", "resume", "runs", "serve", "compare", "report", "dashboard", "eval", "data", "judge", "model", "doctor", "config", "native", "questions", "privacy", "completion"],
  ...["list", "get", "show", "rm", "inspect", "analyze", "import", "split", "generate", "quantize", "emulate", "schema", "validate", "build", "export", "agreement", "metrics", "calibrate", "audit"],
];

/** Says which command lacks something, and where its usage is. */
function withUsage(message: string, argv: readonly string[]): string {
  const numWords = argv.findIndex((word, index) => index === 2 || !COMMAND_WORDS.includes(word));
  const command = argv.slice(0, numWords < 0 ? argv.length : numWords).join(" ");
  const missing = /^Missing required arguments?: (.*)$/mu.exec(message)?.[1];
  if (missing !== undefined) return `${command}: expected --${missing.split(", ").join(", --")}, received none. See fedllm-native ${command} --help`;
  if (!message.startsWith("Not enough non-option arguments")) return message;
  return `${command}: expected more than its name. See fedllm-native ${command} --help`;
}

/** Adds "Did you mean" for the words yargs does not know. */
function withSuggestion(message: string, argv: readonly string[]): string {
  const unknown = /^Unknown (?:argument|command)s?: (.*)$/m.exec(message)?.[1];
  if (unknown === undefined) return message;
  const known = [...COMMAND_WORDS, ...knownOptions()];
  const hints = unknown.split(", ").flatMap((word) => {
    const close = suggest(word, known);
    if (close === undefined) return [];
    return argv.includes(word) ? [close] : [`--${close}`];
  });
  return hints.length === 0 ? message : `${message}. Did you mean ${[...new Set(hints)].join(", ")}?`;
}

function knownOptions(): string[] {
  return [...CONFIG_OPTION_NAMES, "json", "quiet", "debug", "out", "dry-run", "yes", "help", "version"];
}

function ownVersion(): string {
  const require = createRequire(import.meta.url);
  return (require("../../package.json") as { version: string }).version;
}
