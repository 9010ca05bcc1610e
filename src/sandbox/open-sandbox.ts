/**
 * Opens the sandbox in which programs of a model run: bubblewrap where it works, else Pyodide, or what the user names. Whether a
 * backend works is found out by running a program in it.
 */
import type { CodeSandbox, ProgramResult } from "../benchmarks/metric.js";
import { FedllmError, problemError } from "../errors.js";
import type { SandboxBackend } from "./backend.js";
import type { SandboxBackendName } from "./names.js";
import { bubblewrapBackends } from "./bubblewrap.js";
import { completeLimits } from "./limits.js";
import type { SandboxLimits } from "./limits.js";
import { SandboxPool } from "./pool.js";
import { pyodideBackends } from "./pyodide.js";
import { userCommandBackend } from "./user-command.js";

export interface SandboxOptions {
  /** The user's consent to the running of programs that a model wrote. */
  readonly allowed: boolean;
  /** Default: auto, which is bubblewrap where usable and Pyodide elsewhere. */
  readonly backend?: SandboxBackendName;
  /** A wrapper of the user's own instead of a backend: program and arguments before `python3 …`. */
  readonly command?: readonly string[];
  readonly limits?: Partial<SandboxLimits>;
  /** Programs at once; each has two processes. Default 2. */
  readonly numWorkers?: number;
}

/** A sandbox with processes to be ended. */
export interface OpenSandbox extends CodeSandbox {
  readonly limits: SandboxLimits;
  /** Ends all processes; programs at work are rejected. Safe to call twice. */
  dispose(): Promise<void>;
}

/** Runs right and wrong: a backend that cannot tell them apart is of no use. */
const PROBE = { source: "def answer(n):\n    return n * 2\n", right: "assert answer(21) == 42", wrong: "assert answer(21) == 43" };
const PROBE_TIME_LIMIT_MS = 20_000;

/**
 * Opens a sandbox.
 * @throws FedllmError CODE_EXECUTION_REFUSED without consent; SANDBOX_UNAVAILABLE with what each backend wants when none works;
 *   CONFIG_INVALID for limits that make no sense.
 */
export async function openSandbox(options: SandboxOptions): Promise<OpenSandbox> {
  if (!options.allowed) {
    throw problemError("CODE_EXECUTION_REFUSED", {
      subject: "running programs that a model wrote",
      expected: "your consent",
      received: "none",
      remedy: "Pass --allow-code-execution (allowed: true in the library) when you want them to be run in a sandbox on this machine",
    });
  }
  const limits = completeLimits(options.limits);
  const numWorkers = options.numWorkers ?? 2;
  if (!Number.isSafeInteger(numWorkers) || numWorkers < 1) {
    throw problemError("CONFIG_INVALID", { subject: "sandbox workers", expected: "a positive integer", received: String(numWorkers) });
  }

  const problems: string[] = [];
  for (const { name, backends, missing } of findBackends(options, limits)) {
    let problem = missing ?? "no form of it works here";
    for (const backend of backends) {
      const pool = new SandboxPool(backend, limits, numWorkers);
      const failure = await probe(pool);
      if (failure === undefined) return pool;
      await pool.dispose();
      problem = failure;
    }
    problems.push(`${name}: ${problem}`);
  }
  throw problemError("SANDBOX_UNAVAILABLE", {
    subject: "sandbox",
    expected: "a backend that runs Python programs",
    received: problems.join("; "),
    remedy: "Install bubblewrap and python3 (Linux) or run npm install pyodide@314, or name a wrapper with --sandbox-command",
  });
}

interface FoundBackend {
  readonly name: string;
  readonly backends: readonly SandboxBackend[];
  readonly missing?: string;
}

function findBackends({ backend = "auto", command }: SandboxOptions, limits: SandboxLimits): FoundBackend[] {
  if (command !== undefined) return [{ name: "command", backends: [userCommandBackend(command, limits)] }];
  return [
    ...(backend === "pyodide" ? [] : [{ name: "bubblewrap", ...bubblewrapBackends(limits) }]),
    ...(backend === "bubblewrap" ? [] : [{ name: "pyodide", ...pyodideBackends(limits) }]),
  ];
}

/** Why a backend is of no use; undefined when it works. */
async function probe(pool: SandboxPool): Promise<string | undefined> {
  const run = async (check: string): Promise<ProgramResult> => pool.runWithin({ source: PROBE.source, check }, PROBE_TIME_LIMIT_MS);
  try {
    const right = await run(PROBE.right);
    const wrong = await run(PROBE.wrong);
    if (right.outcome === "passed" && wrong.outcome === "failed") return undefined;
    return right.detail ?? `a program that is right ended as ${right.outcome}, one that is wrong as ${wrong.outcome}`;
  } catch (error) {
    if (error instanceof FedllmError) return error.message;
    throw error;
  }
}
