/** What a program may use before it is ended. */
import { problemError } from "../errors.js";

export interface SandboxLimits {
  /** Wall-clock time for defining the program and running its check; the starting of an interpreter is not in it. */
  readonly timeLimitMs: number;
  /** Address space of the interpreter. */
  readonly memoryBytes: number;
  /** What a program may print in all; its process is ended at more. */
  readonly outputBytes: number;
  /** Temporary files in all. They are in memory. */
  readonly fileBytes: number;
}

/** Three seconds are what HumanEval's own evaluation grants. */
export const DEFAULT_LIMITS: SandboxLimits = {
  timeLimitMs: 3000,
  memoryBytes: 512 * 1024 * 1024,
  outputBytes: 1024 * 1024,
  fileBytes: 16 * 1024 * 1024,
};

/** An interpreter itself needs about this much address space. */
const MEMORY_BYTES_MIN = 64 * 1024 * 1024;

/** Completes limits; throws CONFIG_INVALID for one that no program could keep to. */
export function completeLimits(given: Partial<SandboxLimits> = {}): SandboxLimits {
  const limits = { ...DEFAULT_LIMITS, ...given };
  const check = (name: keyof SandboxLimits, min: number): void => {
    const value = limits[name];
    if (!Number.isSafeInteger(value) || value < min) {
      throw problemError("CONFIG_INVALID", { subject: `sandbox limit ${name}`, expected: `an integer of at least ${min}`, received: String(value) });
    }
  };
  check("timeLimitMs", 1);
  check("memoryBytes", MEMORY_BYTES_MIN);
  check("outputBytes", 1);
  check("fileBytes", 1);
  return limits;
}

/** The kernel's limits for a guest with a Python process of its own, by the names of Python's resource module. */
export function resourceLimits(limits: SandboxLimits, role: "candidate" | "checker"): Record<string, number> {
  return {
    AS: limits.memoryBytes,
    FSIZE: limits.fileBytes,
    CORE: 0,
    NOFILE: 64,
    NPROC: 1,
    // Behind the parent's clock, for the case that the parent is no more. Checkers live on from program to program.
    ...(role === "candidate" ? { CPU: Math.ceil(limits.timeLimitMs / 1000) + 5 } : {}),
  };
}
