/**
 * One program in a pair of guests: the candidate defines it, the checker runs the check, and this process carries the calls
 * of the one to the other. It reads the verdict from the checker alone, with the nonce that it gave to this check, so nothing that
 * a program prints, returns or ends with can be taken for one.
 */
import { randomBytes } from "node:crypto";
import type { ProgramResult } from "../benchmarks/metric.js";
import { FedllmError } from "../errors.js";
import type { GuestEnding, GuestProcess } from "./guest-process.js";

export interface Program {
  readonly source: string;
  readonly check: string;
}

export interface GuestPair {
  readonly candidate: GuestProcess;
  readonly checker: GuestProcess;
}

type Outcome = Omit<ProgramResult, "durationMs">;

const DETAIL_CHARS = 300;
/** Brackets within brackets in an answer; the interpreters' own limits are above. */
const DEPTH_MAX = 400;
/** A checker that is told that its program is gone has this long to end its check; then it is ended. */
const CHECKER_GRACE_MS = 1000;

/**
 * Runs a program; both guests are ready. Guests that are of no use afterwards have been ended. Rejects with CANCELLED
 * after an abort, when both have been.
 */
export async function runProgram(guests: GuestPair, program: Program, timeLimitMs: number, signal?: AbortSignal): Promise<ProgramResult> {
  const start = performance.now();
  const conversation = new Conversation(guests);
  const timer = setTimeout(() => { conversation.stop("timeout"); }, timeLimitMs);
  const abort = (): void => { conversation.stop("abort"); };
  signal?.addEventListener("abort", abort);
  try {
    if (signal?.aborted === true) conversation.stop("abort");
    const outcome = await conversation.run(program);
    if (conversation.stopped === "abort") {
      await Promise.all([guests.candidate.kill(), guests.checker.kill()]);
      throw new FedllmError("CANCELLED", "the program was stopped");
    }
    return { ...outcome, durationMs: performance.now() - start };
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
}

class Conversation {
  readonly #candidate: GuestProcess;
  readonly #checker: GuestProcess;
  #waitsForChecker = false;
  stopped: "timeout" | "abort" | undefined;

  constructor({ candidate, checker }: GuestPair) {
    this.#candidate = candidate;
    this.#checker = checker;
  }

  /** Ends the program from outside; `run` then resolves. */
  stop(cause: "timeout" | "abort"): void {
    this.stopped = cause;
    void this.#candidate.kill();
    if (this.#waitsForChecker) void this.#checker.kill();
  }

  async run({ source, check }: Program): Promise<Outcome> {
    this.#candidate.resetOutputCount();
    this.#checker.resetOutputCount();
    const loaded = await this.#askCandidate("load", JSON.stringify(source));
    if (loaded === undefined) return this.#candidateEnded();
    const raised = raisedBy(loaded);
    if (raised !== undefined) return raised;

    const nonce = randomBytes(16).toString("hex");
    this.#checker.send(`check ${nonce} ${asAscii(JSON.stringify(check))}`);
    for (;;) {
      const line = await this.#nextOfChecker();
      if (line === undefined) return this.#checkerEnded();
      const [kind, second = ""] = line.split(" ", 2);
      if (kind === "verdict" && second === nonce) return readVerdict(line.slice(kind.length + second.length + 2));
      if (kind !== "ask") return this.#checkerEnded();
      const answer = await this.#askCandidate(second, line.slice(kind.length + second.length + 2));
      if (answer === undefined) {
        await this.#endCheck();
        return this.#candidateEnded();
      }
      this.#checker.send(`answer ${answer}`);
    }
  }

  /** The candidate's answer to one request, as JSON text that nobody has looked at; undefined when it ended or spoke out of turn. */
  async #askCandidate(verb: string, json: string): Promise<string | undefined> {
    const token = randomBytes(8).toString("hex");
    this.#candidate.send(`${verb} ${token} ${asAscii(json)}`);
    const line = await this.#candidate.next();
    if (line?.startsWith(`${token} `) === true && !isNestedTooDeeply(line)) return line.slice(token.length + 1);
    if (line !== undefined) await this.#candidate.kill();
    return undefined;
  }

  async #nextOfChecker(): Promise<string | undefined> {
    this.#waitsForChecker = true;
    const line = await this.#checker.next();
    this.#waitsForChecker = false;
    return line;
  }

  async #endCheck(): Promise<void> {
    this.#checker.send('answer {"gone": true}');
    const timer = setTimeout(() => void this.#checker.kill(), CHECKER_GRACE_MS);
    const line = await this.#checker.next();
    clearTimeout(timer);
    // A check that goes on asking cannot be told from one that is stuck.
    if (line?.startsWith("verdict ") !== true) await this.#checker.kill();
  }

  #candidateEnded(): Outcome {
    if (this.stopped === "timeout") return { outcome: "timeout", detail: "the time limit was reached" };
    return describeEnding(this.#candidate.ending, this.#candidate.errorTail);
  }

  async #checkerEnded(): Promise<Outcome> {
    await Promise.all([this.#checker.kill(), this.#candidate.kill()]);
    if (this.stopped === "timeout") return { outcome: "timeout", detail: "the time limit was reached in the check" };
    if (this.#checker.ending?.reason === "output") return { outcome: "error", detail: "the check printed more than the limit" };
    return { outcome: "error", detail: `the check's process ended: ${lastLine(this.#checker.errorTail)}` };
  }
}

/** Whether JSON text could overflow the stack of who reads it. Any text may come. */
function isNestedTooDeeply(json: string): boolean {
  let depth = 0;
  let isText = false;
  for (let index = 0; index < json.length; index++) {
    const character = json[index];
    if (isText) {
      if (character === "\\") index++;
      else if (character === '"') isText = false;
    } else if (character === '"') {
      isText = true;
    } else if (character === "[" || character === "{") {
      if (++depth > DEPTH_MAX) return true;
    } else if (character === "]" || character === "}") {
      depth--;
    }
  }
  return false;
}

/** JSON text in ASCII, which the lines are. */
function asAscii(json: string): string {
  return json.replaceAll(/[^\0-\x7f]/gu, (text) =>
    Array.from({ length: text.length }, (_, index) => `\\u${text.charCodeAt(index).toString(16).padStart(4, "0")}`).join(""),
  );
}

function describeEnding(ending: GuestEnding | undefined, errorTail: string): Outcome {
  switch (ending?.reason) {
    case "output":
      return { outcome: "output", detail: "the program printed or returned more than the limit" };
    case "exit": {
      const how = ending.signal ?? `exit code ${ending.exitCode ?? "unknown"}`;
      const isMemory = ending.signal === "SIGKILL" || /bad_alloc|MemoryError|heap out of memory/u.test(errorTail);
      return { outcome: isMemory ? "memory" : "failed", detail: shorten(`the program ended its process (${how}) ${lastLine(errorTail)}`) };
    }
    case "notStarted":
    case "killed":
    case undefined:
      return { outcome: "failed", detail: "the program did not answer as a function does" };
  }
}

/** What a program raised while it was defined; undefined when it was not. The text is the program's, so any form may come. */
function raisedBy(answer: string): Outcome | undefined {
  let raised: unknown;
  try {
    const parsed = JSON.parse(answer) as { raised?: unknown } | null;
    if (typeof parsed !== "object" || parsed === null || !("raised" in parsed)) return undefined;
    raised = parsed.raised;
  } catch {
    return { outcome: "failed", detail: "the program did not answer as a function does" };
  }
  const [name, message] = Array.isArray(raised) ? raised.map(String) : [];
  return { outcome: name === "MemoryError" ? "memory" : "failed", detail: shorten(`${name ?? "error"}: ${message ?? ""}`) };
}

function readVerdict(json: string): Outcome {
  const verdict = JSON.parse(json) as { passed: boolean; type?: string; detail?: string };
  if (verdict.passed) return { outcome: "passed" };
  return { outcome: verdict.type === "MemoryError" ? "memory" : "failed", detail: shorten(verdict.detail ?? "") };
}

const lastLine = (text: string): string => text.trimEnd().split("\n").at(-1) ?? "";

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/gu, " ").trim();
  return line.length > DETAIL_CHARS ? `${line.slice(0, DETAIL_CHARS - 1)}…` : line;
}
