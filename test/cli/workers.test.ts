/** Worker processes of the real command line: none outlives it, however it ends. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const childrenOf = (pid: number) => readFileSync(`/proc/${String(pid)}/task/${String(pid)}/children`, "utf8").trim().split(" ").filter(Boolean);
const isGone = (pid: string) => {
  try {
    return /^State:\s+Z/mu.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
};

test.runIf(process.platform === "linux").each(["SIGINT", "SIGKILL"] as const)("workers end with a run that is ended by %s", async (signal) => {
  const folder = makeTemporaryFolder();
  // More steps than anybody waits for.
  const { file } = writeTinyExperiment(folder, ["arms: [{name: long, precision: F16, strategy: fedavg, training: {localSteps: 100000}}]"]);
  let workers: readonly string[] = [];
  const result = await runCli(["run", file, "--workers", "2", "--out", join(folder, "out"), "--json"], {
    env: { FEDLLM_CACHE_DIR: join(folder, "cache") },
    onLine: (line, child) => {
      if (workers.length > 0 || !line.includes('"client_step"') || child.pid === undefined) return;
      workers = childrenOf(child.pid);
      child.kill(signal);
    },
  });
  expect(result.signal ?? result.exitCode).toBe(signal === "SIGINT" ? 130 : "SIGKILL");
  expect(workers).toHaveLength(2);
  await vi.waitFor(() => {
    expect(workers.filter((pid) => !isGone(pid))).toEqual([]);
  }, 30_000);
});
