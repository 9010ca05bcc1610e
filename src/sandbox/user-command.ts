/**
 * A wrapper of the user's own, for example `docker run --rm --init -i --network none --memory 512m --pids-limit 64 python:3.12-slim`: it must
 * run the Python command that is appended to it, with standard input and output passed through. What isolates is the wrapper; the
 * guest adds the kernel's limits.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { problemError } from "../errors.js";
import { GUEST_FOLDER } from "./backend.js";
import type { GuestRole, SandboxBackend } from "./backend.js";
import { resourceLimits } from "./limits.js";
import type { SandboxLimits } from "./limits.js";

export function userCommandBackend(command: readonly string[], limits: SandboxLimits): SandboxBackend {
  const [file, ...args] = command;
  if (file === undefined) {
    throw problemError("CONFIG_INVALID", { subject: "sandbox command", expected: "a program and its arguments", received: "nothing" });
  }
  const guest = readFileSync(join(GUEST_FOLDER, "guest.py"), "utf8");
  return {
    name: "command",
    forgetsPrograms: false,
    command: (role: GuestRole) => ({
      file,
      args: [...args, "python3", "-I", "-S", "-c", guest, role, JSON.stringify(resourceLimits(limits, role))],
      isUserCommand: true,
    }),
  };
}

/** Splits a command line at spaces; single and double quotes hold words together. Throws CONFIG_INVALID for an open quote. */
export function splitCommand(line: string): string[] {
  const words = [...line.matchAll(/(?:[^\s"']+|"[^"]*"|'[^']*')+/gu)].map(([word]) => word.replaceAll(/"([^"]*)"|'([^']*)'/gu, "$1$2"));
  if (/["']/u.test(line.replaceAll(/"[^"]*"|'[^']*'/gu, ""))) {
    throw problemError("CONFIG_INVALID", { subject: "sandbox command", expected: "closed quotes", received: JSON.stringify(line) });
  }
  return words;
}
