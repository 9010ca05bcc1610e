/**
 * Python in WebAssembly (Pyodide) in a Node process of its own, for every system. Node's permission flags leave it the reading of Pyodide's
 * folder; WebAssembly's memory is capped; code cannot be made from strings, which closes the way from Python's bridge to Node's modules; the
 * guest closes the network and clears the globals before a program comes (guest/pyodide-guest.mjs). Where Linux lets it, the
 * process also has no network by the kernel's namespaces and a kernel's limit of memory. It starts in 2 s, so it is used again: the interpreter's
 * memory is put back before each program.
 */
import { createRequire } from "node:module";
import { dirname, join, sep } from "node:path";
import { pathToFileURL } from "node:url";
import { GUEST_FOLDER, systemProgram } from "./backend.js";
import type { GuestRole, SandboxBackend } from "./backend.js";
import type { GuestCommand } from "./guest-process.js";
import type { SandboxLimits } from "./limits.js";

const WASM_PAGE_BYTES = 65_536;
/** JavaScript objects of Pyodide itself take about 40 MiB. */
const HEAP_MIB = 256;
/** What a Node process with Pyodide writes to besides WebAssembly's memory. */
const NODE_BYTES = 640 * 1024 * 1024;

/** The forms of the backend to be tried in order, the strictest first; none when the package is missing, with the word why. */
export function pyodideBackends(limits: SandboxLimits): { readonly backends: readonly SandboxBackend[]; readonly missing?: string } {
  const folder = packageFolder();
  if (folder === undefined) {
    return { backends: [], missing: "the package pyodide is not installed (npm install pyodide@314)" };
  }
  const backends = kernelWrappers(limits).map((wrapper): SandboxBackend => ({
    name: "pyodide",
    forgetsPrograms: true,
    command: (role: GuestRole): GuestCommand => {
      const node = [process.execPath, ...nodeFlags(folder, limits), join(GUEST_FOLDER, "pyodide-guest.mjs"), role, folder];
      const [first, ...others] = [...wrapper, ...node, JSON.stringify({ fileBytes: limits.fileBytes })];
      return { file: first, args: others };
    },
  }));
  return { backends };
}

function packageFolder(): string | undefined {
  try {
    return dirname(createRequire(pathToFileURL(join(GUEST_FOLDER, "guest.py"))).resolve("pyodide/package.json"));
  } catch {
    return undefined;
  }
}

function nodeFlags(folder: string, limits: SandboxLimits): string[] {
  const major = Number(process.versions.node.split(".")[0]);
  return [
    major >= 22 ? "--permission" : "--experimental-permission",
    ...[folder, GUEST_FOLDER].map((path) => `--allow-fs-read=${path}${sep}*`),
    `--wasm-max-mem-pages=${Math.floor(limits.memoryBytes / WASM_PAGE_BYTES)}`,
    `--max-old-space-size=${HEAP_MIB}`,
    "--disallow-code-generation-from-strings",
    "--no-addons",
    "--disable-warning=ExperimentalWarning",
    "--disable-warning=SecurityWarning",
  ];
}

/** Commands that start another with less: without network, with limits, and never outliving this process. */
function kernelWrappers(limits: SandboxLimits): string[][] {
  if (process.platform !== "linux") return [[]];
  const unshare = systemProgram("unshare");
  const prlimit = systemProgram("prlimit");
  const setpriv = systemProgram("setpriv");
  const bounds = [
    ...(prlimit === undefined ? [] : [prlimit, `--data=${limits.memoryBytes + NODE_BYTES}`, "--core=0", "--fsize=0"]),
    ...(setpriv === undefined ? [] : [setpriv, "--pdeathsig", "KILL", "--no-new-privs"]),
  ];
  const networks = unshare === undefined ? [[]] : [[unshare, "--net", "--ipc"], [unshare, "--map-root-user", "--net", "--ipc"], []];
  return [...networks.map((network) => [...network, ...bounds]), ...(bounds.length === 0 ? [] : [[]])];
}
