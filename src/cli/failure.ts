/** What the command line says and returns when something fails: `error CODE: message`, a remedy, an exit code. */
import { FedllmError } from "../errors.js";
import type { ErrorCode } from "../errors.js";
import { printable } from "../report/format.js";
import { EXIT_INTERRUPTED } from "./interrupt.js";

export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
/** Wrong usage or configuration. */
export const EXIT_USAGE = 2;
/** A run that was trained again came out differently. */
export const EXIT_DIFFERENT = 3;

/** What to do, where the message itself cannot know it. */
const REMEDIES: Readonly<Partial<Record<ErrorCode, string>>> = {
  CONFIG_INVALID: "`fedllm-native config schema` lists all fields, `fedllm-native --help` all commands.",
  DATASET_INVALID: "`fedllm-native data inspect <file>` shows what can be read and what is wrong.",
  MODEL_LOAD_FAILED: "`fedllm-native model inspect <file>` shows what the file holds.",
  MODEL_UNSUPPORTED: "`fedllm-native model inspect <file>` shows what the file holds.",
  TRAIN_DIVERGED: "Lower training.initialLearningRate, or set training.optimizer.maxGradientNorm.",
  COHORT_TOO_SMALL: "The failures of single clients are listed by `fedllm-native runs show <run>`; training.minClients sets the limit.",
  RUN_NOT_FOUND: "`fedllm-native runs list` shows the runs in ./runs.",
  RUN_EXISTS: "Continue it with `fedllm-native resume <run>`, or choose another folder with --out.",
  NATIVE_UNAVAILABLE: "`fedllm-native doctor` shows what is missing.",
  NATIVE_MISMATCH: "`fedllm-native doctor` shows which versions are installed.",
  OUT_OF_MEMORY: "Lower training.microBatchTokens or lora.rank, or choose a smaller precision.",
};

/** Errors in what was asked for: trying again unchanged cannot help. */
const USAGE_CODES: ReadonlySet<ErrorCode> = new Set(["CONFIG_INVALID", "RUN_NOT_FOUND", "RUN_EXISTS", "CODE_EXECUTION_REFUSED"]);

/** Exit code of an error. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof FedllmError)) return EXIT_FAILED;
  if (error.code === "CANCELLED") return EXIT_INTERRUPTED;
  if (error.code === "NOT_REPRODUCED") return EXIT_DIFFERENT;
  return USAGE_CODES.has(error.code) ? EXIT_USAGE : EXIT_FAILED;
}

/** The text for standard error: no stack unless `debug`, and then the causes too. */
export function describeFailure(error: unknown, options: { readonly debug: boolean }): string {
  const code = error instanceof FedllmError ? error.code : "INTERNAL";
  const message = error instanceof Error ? error.message : String(error);
  const lines = message.split("\n").map((line) => `error ${code}: ${printable(line)}`);
  const remedy = error instanceof FedllmError ? REMEDIES[error.code] : "This is a bug of ours; --debug shows where it happened.";
  if (remedy !== undefined) lines.push(remedy);
  if (options.debug) lines.push(...stacksOf(error));
  return lines.join("\n");
}

function stacksOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  return [error.stack ?? error.message, ...(error.cause === undefined ? [] : ["caused by:", ...stacksOf(error.cause)])];
}
