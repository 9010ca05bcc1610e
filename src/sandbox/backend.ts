/** What a way of running guests has to say; one file each for bubblewrap, Pyodide and the user's own wrapper. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { GuestCommand } from "./guest-process.js";

/** The program's process, or the one that holds the check. */
export type GuestRole = "candidate" | "checker";

export interface SandboxBackend {
  /** As recorded beside scores. */
  readonly name: string;
  /** Whether a candidate forgets a program at `reset`; otherwise each program gets a process of its own. */
  readonly forgetsPrograms: boolean;
  command(role: GuestRole): GuestCommand;
}

/** Folder of the guests' sources, which are no TypeScript and lie beside this file in src/ and in dist/. */
export const GUEST_FOLDER = join(dirname(fileURLToPath(import.meta.url)), "guest");

/** The first of these files that is there. */
export const firstFile = (paths: readonly string[]): string | undefined => paths.find((path) => existsSync(path));

/** A system program by its name. Fixed places: what a search path says is nothing to build a wall on. */
export const systemProgram = (name: string): string | undefined =>
  firstFile(["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].map((folder) => join(folder, name)));
