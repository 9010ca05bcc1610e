/**
 * Makes sure that better-sqlite3 has its compiled binding. npm may block install scripts of dependencies; the version
 * for Node 20 then arrives without one. Its own install step is run here, once, where it lies.
 */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import Database from "better-sqlite3";
import { FedllmError } from "../errors.js";
import { lastLines, runProcess } from "../util/run-process.js";

/** Lines of npm's output that an error message repeats. */
const OUTPUT_LINES_MAX = 15;

export interface EnsureSqliteOptions {
  /** Receives one sentence when a build starts and one when it ends. */
  readonly onProgress?: (line: string) => void;
}

/** Resolves when a database can be opened. Throws NATIVE_UNAVAILABLE when the binding is missing and cannot be built. */
export async function ensureSqlite(options: EnsureSqliteOptions = {}): Promise<void> {
  if (openingProblem() === undefined) return;
  const packageRoot = dirname(dirname(createRequire(import.meta.url).resolve("better-sqlite3")));
  options.onProgress?.(`Building better-sqlite3 in ${packageRoot}, one to two minutes.`);
  // An explicit run of the script: the blocking of install scripts does not cover it.
  const { output } = await runProcess("npm", ["run", "install"], packageRoot);
  const problem = openingProblem();
  if (problem !== undefined) {
    const tail = lastLines(output, OUTPUT_LINES_MAX);
    throw new FedllmError(
      "NATIVE_UNAVAILABLE",
      `better-sqlite3: expected a compiled binding in ${join(packageRoot, "build")}, received none after building it. ` +
        `It needs Python 3, make and a C++ compiler (Debian: apt-get install -y python3 build-essential).\n${tail}`,
      { cause: problem },
    );
  }
  options.onProgress?.("Built better-sqlite3.");
}

/** What goes wrong when an empty database is opened; undefined when nothing does. */
function openingProblem(): unknown {
  try {
    new Database(":memory:").close();
    return undefined;
  } catch (error) {
    return error;
  }
}
