/** The sandbox's backends as far as they work on this machine; the reason is printed for those that do not. */
import { isFedllmError } from "../../src/errors.js";
import { completeLimits } from "../../src/sandbox/limits.js";
import type { SandboxLimits } from "../../src/sandbox/limits.js";
import { openSandbox } from "../../src/sandbox/open-sandbox.js";
import type { SandboxBackendName } from "../../src/sandbox/names.js";
import type { OpenSandbox } from "../../src/sandbox/open-sandbox.js";
import { SandboxPool } from "../../src/sandbox/pool.js";
import { pyodideBackends } from "../../src/sandbox/pyodide.js";

/** Undefined where the backend cannot be used. */
export async function openIfUsable(backend: SandboxBackendName, limits: Partial<SandboxLimits> = {}, numWorkers = 1): Promise<OpenSandbox | undefined> {
  try {
    return await openSandbox({ allowed: true, backend, limits, numWorkers });
  } catch (error) {
    if (!isFedllmError(error, "SANDBOX_UNAVAILABLE")) throw error;
    console.log(`skipped: ${error.message}`);
    return undefined;
  }
}

/** Pyodide as on a system whose kernel helps with nothing: Node's flags and the guest's own measures alone. */
export function openBarePyodide(limits: Partial<SandboxLimits>): OpenSandbox {
  const complete = completeLimits(limits);
  const bare = pyodideBackends(complete).backends.at(-1);
  if (bare === undefined) throw new Error("pyodide is not installed");
  return new SandboxPool(bare, complete, 1);
}
