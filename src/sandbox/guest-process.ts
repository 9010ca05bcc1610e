/**
 * A process that runs a guest (guest/guest.py) and talks in lines. Everything it says is bounded here: it may be under the
 * control of an untrusted program, so a flood ends it instead of filling this process's memory.
 */
import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import type { Readable, Writable } from "node:stream";

/** How a guest is started. */
export interface GuestCommand {
  readonly file: string;
  readonly args: readonly string[];
  /** User and group of the process, where this one may choose. */
  readonly user?: { readonly uid: number; readonly gid: number };
  /** Bytes that the process finds at file descriptor 3. */
  readonly descriptor3?: Uint8Array;
  /** A wrapper of the user's own (a container's client) needs the user's environment and a signal that it can pass on. */
  readonly isUserCommand?: boolean;
}

/** Why a guest is no more. */
export interface GuestEnding {
  readonly reason: "exit" | "output" | "notStarted" | "killed";
  readonly exitCode?: number;
  readonly signal?: string;
}

/** Answers may be long lists; one of this size is no answer any more. */
const LINE_BYTES_MAX = 8 * 1024 * 1024;
const ERROR_TAIL_BYTES = 2000;
/** What a wrapper has between the signal that it may handle and the one that it cannot. */
const USER_COMMAND_GRACE_MS = 500;

export class GuestProcess {
  readonly pid: number | undefined;
  readonly #child: ChildProcess;
  readonly #input: Writable;
  readonly #closed: Promise<void>;
  readonly #isUserCommand: boolean;
  readonly #outputBytesMax: number;
  readonly #lines: string[] = [];
  #partLine: Buffer[] = [];
  #partLineBytes = 0;
  #outputBytes = 0;
  #errorTail = "";
  #ending: GuestEnding | undefined;
  #wake: (() => void) | undefined;

  /** @param outputBytesMax bytes that one program may print before its process is ended */
  constructor(command: GuestCommand, outputBytesMax: number) {
    this.#outputBytesMax = outputBytesMax;
    this.#isUserCommand = command.isUserCommand === true;
    this.#child = spawn(command.file, command.args, {
      stdio: ["pipe", "pipe", "pipe", ...(command.descriptor3 === undefined ? [] : ["pipe" as const])],
      // The guest's folder must be there for any user.
      cwd: "/",
      // A group of its own, so that what a wrapper starts ends with it.
      detached: true,
      ...(this.#isUserCommand ? {} : { env: {} }),
      ...command.user,
    });
    this.pid = this.#child.pid;
    const { stdin, stdout, stderr } = this.#child;
    if (stdin === null || stdout === null || stderr === null) throw new Error("a guest process has no pipes");
    this.#input = stdin;
    const descriptor3 = this.#child.stdio[3] as Writable | null | undefined;
    descriptor3?.on("error", () => undefined);
    descriptor3?.end(command.descriptor3);
    // Writing to a process that has ended is seen by reading from it.
    stdin.on("error", () => undefined);
    stdout.on("data", (chunk: Buffer) => { this.#takeOutput(chunk); });
    stderr.on("data", (chunk: Buffer) => { this.#takeErrors(chunk); });
    this.#closed = this.#watchEnd(stdout, stderr);
  }

  /** Set when the process has ended or is being ended. */
  get ending(): GuestEnding | undefined {
    return this.#ending;
  }

  /** The last of what the process printed outside of its answers. */
  get errorTail(): string {
    return this.#errorTail;
  }

  /** The next program may print as much as the first. */
  resetOutputCount(): void {
    this.#outputBytes = 0;
    this.#errorTail = "";
  }

  send(line: string): void {
    if (this.#ending === undefined) this.#input.write(`${line}\n`);
  }

  /** The next line; undefined when the process has ended. One caller at a time. */
  async next(): Promise<string | undefined> {
    while (this.#lines.length === 0 && this.#ending === undefined) {
      await new Promise<void>((resolve) => { this.#wake = resolve; });
    }
    return this.#ending === undefined ? this.#lines.shift() : undefined;
  }

  /** Ends the process and everything it started; resolves when it is gone. Safe to call twice. */
  async kill(reason: GuestEnding["reason"] = "killed"): Promise<void> {
    this.#end({ reason });
    if (this.#isUserCommand && this.#isRunning()) {
      this.#signal("SIGTERM");
      const timer = setTimeout(() => { this.#signal("SIGKILL"); }, USER_COMMAND_GRACE_MS);
      await this.#closed;
      clearTimeout(timer);
    } else {
      this.#signal("SIGKILL");
    }
    await this.#closed;
  }

  #isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  #signal(signal: "SIGTERM" | "SIGKILL"): void {
    if (this.pid === undefined || !this.#isRunning()) return;
    try {
      if (process.platform === "win32") this.#child.kill(signal);
      else process.kill(-this.pid, signal);
    } catch {
      // It ended between the question and the signal.
    }
  }

  async #watchEnd(...streams: readonly Readable[]): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#child.once("error", () => {
        this.#end({ reason: "notStarted" });
        resolve();
      });
      this.#child.once("exit", (exitCode, signal) => {
        // What it printed last may still be on its way; nobody else holds the pipes for longer than that.
        const end = (): void => {
          this.#end({ reason: "exit", ...(exitCode === null ? {} : { exitCode }), ...(signal === null ? {} : { signal }) });
          for (const stream of streams) stream.destroy();
          resolve();
        };
        const timer = setTimeout(end, 200);
        this.#child.once("close", () => {
          clearTimeout(timer);
          end();
        });
      });
    });
  }

  #end(ending: GuestEnding): void {
    this.#ending ??= ending;
    this.#wake?.();
  }

  #takeOutput(chunk: Buffer): void {
    if (this.#ending !== undefined) return;
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#lines.push(Buffer.concat([...this.#partLine, chunk.subarray(start, end)]).toString("latin1"));
      this.#partLine = [];
      this.#partLineBytes = 0;
      start = end + 1;
    }
    this.#partLine.push(chunk.subarray(start));
    this.#partLineBytes += chunk.length - start;
    // A guest answers only when asked, so more than a few lines are a flood.
    if (this.#partLineBytes > LINE_BYTES_MAX || this.#lines.length > 1000) void this.kill("output");
    else this.#wake?.();
  }

  #takeErrors(chunk: Buffer): void {
    this.#outputBytes += chunk.length;
    this.#errorTail = (this.#errorTail + chunk.toString("latin1")).slice(-ERROR_TAIL_BYTES);
    if (this.#outputBytes > this.#outputBytesMax && this.#ending === undefined) void this.kill("output");
  }
}
