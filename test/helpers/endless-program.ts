/** Runs a program without end in a sandbox, until it is killed. Arguments: backend, bytes of files (a mark in the guests' command lines). */
import { openSandbox } from "../../src/sandbox/open-sandbox.js";
import type { SandboxBackendName } from "../../src/sandbox/names.js";

const [backend, fileBytes] = process.argv.slice(2);
const sandbox = await openSandbox({ allowed: true, backend: backend as SandboxBackendName, limits: { timeLimitMs: 120_000, fileBytes: Number(fileBytes) }, numWorkers: 1 });
console.log("running");
await sandbox.run({ source: "def f():\n    while True: pass", check: "f()" });
