/** Runs a helper program (a compiler, npm) without a terminal and keeps what it prints, for messages about failures. */
import { spawn } from "node:child_process";

export interface ProcessResult {
  /** Absent when a signal ended the program. */
  readonly exitCode?: number;
  /** Standard output and standard error in the order of arrival. */
  readonly output: string;
}

/** Resolves when the program has ended, whatever its exit code. Rejects when it cannot be started. */
export async function runProcess(command: string, args: readonly string[], cwd?: string): Promise<ProcessResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...(cwd === undefined ? {} : { cwd }) });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.on("error", reject);
    child.on("close", (exitCode) => {
      const output = Buffer.concat(chunks).toString();
      resolve(exitCode === null ? { output } : { exitCode, output });
    });
  });
}

/** The last lines of a program's output. */
export function lastLines(output: string, numLines: number): string {
  return output.trimEnd().split("\n").slice(-numLines).join("\n");
}
