/** Starts the real command line in a process of its own, from the sources, and collects what it prints. */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PROJECT_ROOT = resolve(import.meta.dirname, "..", "..");
/** The loader by its full path: the working folder of a test need not have node_modules above it. */
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/** Program and leading arguments that start a TypeScript file of this project, named from its root. */
export function sourceCommand(file: string): readonly string[] {
  return [process.execPath, "--import", TSX, resolve(PROJECT_ROOT, file)];
}

/** Program and leading arguments that start the command line. */
export const CLI_COMMAND: readonly string[] = sourceCommand("src/cli/main.ts");

export interface CliOptions {
  readonly cwd?: string;
  /** Added to the environment; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Called once at the beginning, for tests that act while the process runs. */
  readonly onStart?: (child: ChildProcess) => void;
  /** Called with each whole line of standard output; may kill the process. */
  readonly onLine?: (line: string, child: ChildProcess) => void;
}

export interface CliResult {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command line to its end. */
export async function runCli(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  return runProgram([...CLI_COMMAND, ...args], options);
}

/** The same for any program, for example one that provides a pseudo-terminal around the command line. */
export async function runProgram(command: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const [program = "", ...args] = command;
  const child = spawn(program, args, {
    cwd: options.cwd ?? PROJECT_ROOT,
    env: { ...process.env, NO_COLOR: "1", CI: undefined, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  options.onStart?.(child);
  let stdout = "";
  let stderr = "";
  let pending = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
    const lines = (pending + text).split("\n");
    pending = lines.pop() ?? "";
    for (const line of lines) options.onLine?.(line, child);
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  return new Promise((resolveResult, reject) => {
    child.on("error", reject);
    child.on("close", (exitCode, signal) => {
      resolveResult({ exitCode, signal, stdout, stderr });
    });
  });
}
