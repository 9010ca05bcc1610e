/** A fixed number of workers, each with a checker and a candidate, over which programs are spread in the order they come. */
import { FedllmError, problemError } from "../errors.js";
import type { ProgramResult } from "../benchmarks/metric.js";
import type { GuestRole, SandboxBackend } from "./backend.js";
import { GuestProcess } from "./guest-process.js";
import type { SandboxLimits } from "./limits.js";
import type { OpenSandbox } from "./open-sandbox.js";
import { runProgram } from "./run-program.js";
import type { Program } from "./run-program.js";

/** Pyodide starts in 2 s, on a busy machine in several times that; a container may have to be made first. */
const START_TIME_LIMIT_MS = 60_000;
const RESET_TIME_LIMIT_MS = 10_000;

interface Worker {
  candidate?: GuestProcess;
  checker?: GuestProcess;
}

export class SandboxPool implements OpenSandbox {
  readonly name: string;
  readonly limits: SandboxLimits;
  readonly #backend: SandboxBackend;
  readonly #workers: readonly Worker[];
  readonly #free: Worker[];
  readonly #waiting: ((worker: Worker) => void)[] = [];
  readonly #starting = new Set<GuestProcess>();
  #isDisposed = false;

  constructor(backend: SandboxBackend, limits: SandboxLimits, numWorkers: number) {
    // Limits decide what passes, so scores name them.
    this.name = `${backend.name}, ${String(limits.timeLimitMs / 1000)} s, ${String(Math.round(limits.memoryBytes / 1024 ** 2))} MiB`;
    this.limits = limits;
    this.#backend = backend;
    this.#workers = Array.from({ length: numWorkers }, () => ({}));
    this.#free = [...this.#workers];
  }

  async run(program: Program, signal?: AbortSignal): Promise<ProgramResult> {
    return this.runWithin(program, this.limits.timeLimitMs, signal);
  }

  /** As `run` with a time limit of its own. */
  async runWithin(program: Program, timeLimitMs: number, signal?: AbortSignal): Promise<ProgramResult> {
    const worker = this.#free.shift() ?? (await new Promise<Worker>((resolve) => this.#waiting.push(resolve)));
    try {
      if (this.#isDisposed || signal?.aborted === true) throw new FedllmError("CANCELLED", "the program was stopped");
      const [candidate, checker] = await Promise.all([this.#guest(worker, "candidate"), this.#guest(worker, "checker")]);
      const result = await runProgram({ candidate, checker }, program, timeLimitMs, signal);
      await Promise.all([this.#makeFresh(candidate, this.#backend.forgetsPrograms), this.#makeFresh(checker, true)]);
      return result;
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free.push(worker);
      else next(worker);
    }
  }

  async dispose(): Promise<void> {
    this.#isDisposed = true;
    const guests = this.#workers.flatMap(({ candidate, checker }) => [candidate, checker]);
    await Promise.all([...guests, ...this.#starting].map(async (guest) => guest?.kill()));
  }

  /** Makes a guest ready for the next program, or ends it; one that has ended already is waited for. */
  async #makeFresh(guest: GuestProcess, isKept: boolean): Promise<void> {
    if (guest.ending === undefined && isKept) {
      guest.send("reset");
      const timer = setTimeout(() => void guest.kill(), RESET_TIME_LIMIT_MS);
      const line = await guest.next();
      clearTimeout(timer);
      if (line === "ready") return;
    }
    await guest.kill();
  }

  /** A worker's guest of that role, started when there is none that lives. */
  async #guest(worker: Worker, role: GuestRole): Promise<GuestProcess> {
    const kept = worker[role];
    if (kept !== undefined && kept.ending === undefined) return kept;
    const guest = await this.#start(role);
    worker[role] = guest;
    return guest;
  }

  async #start(role: GuestRole): Promise<GuestProcess> {
    const guest = new GuestProcess(this.#backend.command(role), this.limits.outputBytes);
    this.#starting.add(guest);
    const timer = setTimeout(() => void guest.kill(), START_TIME_LIMIT_MS);
    const line = await guest.next();
    clearTimeout(timer);
    this.#starting.delete(guest);
    if (line === "ready") return guest;
    await guest.kill();
    throw problemError("SANDBOX_UNAVAILABLE", {
      subject: `sandbox ${this.#backend.name}`,
      expected: "an interpreter that starts",
      received: guest.errorTail.trim().split("\n").at(-1) ?? "nothing",
    });
  }
}
