/** Runs whose clients train in worker processes: the same bits as in one process, also when workers die or hang, and nothing left behind. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { ExperimentConfig } from "../../src/config/schema.js";
import { processExecutor } from "../../src/executor/processes/process-executor.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import type { RunEvent } from "../../src/run/events.js";
import { readRunContents, type RunContents } from "../helpers/run-contents.js";
import { makeTestFolder } from "../helpers/native.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

let config: ExperimentConfig;
let folder: string;
let alone: RunContents;

beforeAll(async () => {
  folder = makeTestFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  // A method whose clients keep a state, one that trains twice per round, and a mixed federation.
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16], strategies: [scaffold, ditto]}", "federation: {devices: {profiles: {pc: {tokensPerSecond: 50}, laptop: {tokensPerSecond: 40, precision: Q8_0}}}}"]);
  config = await configOf(file);
  await runExperiment(config, join(folder, "alone"));
  alone = readRunContents(join(folder, "alone"));
});

function isRunning(pid: number): boolean {
  try {
    // A process that has ended and was not waited for yet has no memory.
    return !/^State:\s+Z/mu.test(readFileSync(`/proc/${String(pid)}/status`, "utf8"));
  } catch {
    return false;
  }
}

describe("with two workers", () => {
  test("a run has the rows and the adapters of one without, and nothing of theirs stays", async () => {
    const pids: number[] = [];
    const out = join(folder, "two");
    const seen: RunEvent[] = [];
    await runExperiment(config, out, { executor: processExecutor({ numWorkers: 2, onStart: (pid) => pids.push(pid) }), onEvent: (event) => seen.push(event) });
    expect(readRunContents(out)).toEqual(alone);
    expect(pids).toHaveLength(2);
    expect(pids.filter(isRunning)).toEqual([]);
    expect(existsSync(join(out, "artifacts"))).toBe(false);
    // Steps came back while clients trained.
    expect(seen.filter(({ event }) => event === "client_step").length).toBeGreaterThan(20);
  });

  test("a worker that is killed and one that hangs in the middle of their tasks are noticed, and others do them", async () => {
    const pids: number[] = [];
    const out = join(folder, "lost");
    const warnings: string[] = [];
    let isHit = false;
    await runExperiment(config, out, {
      executor: processExecutor({ numWorkers: 2, onStart: (pid) => pids.push(pid), watch: { startMs: 60_000, pingEveryMs: 250, pingsMissedMax: 12 } }),
      onEvent: (event) => {
        if (event.event === "warning") warnings.push(event.message);
        if (event.event !== "client_step" || isHit) return;
        isHit = true;
        for (const [index, pid] of pids.entries()) process.kill(pid, index === 0 ? "SIGKILL" : "SIGSTOP");
      },
    });
    expect(readRunContents(out)).toEqual(alone);
    const again = warnings.filter((text) => text.includes("its task is done again")).join("; ");
    expect(again).toContain("was ended by SIGKILL");
    expect(again).toContain("has not answered");
    expect(pids.length).toBeGreaterThanOrEqual(4);
    expect(pids.filter(isRunning)).toEqual([]);
  });

  test("an interrupted run ends its workers and goes on without them to the same end", async () => {
    const pids: number[] = [];
    const out = join(folder, "interrupted");
    const stop = new AbortController();
    const stopped = runExperiment(config, out, {
      executor: processExecutor({ numWorkers: 2, onStart: (pid) => pids.push(pid) }),
      signal: stop.signal,
      onEvent: (event) => {
        if (event.event === "client_step" && event.round === 2) stop.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });
    expect(pids.filter(isRunning)).toEqual([]);
    await resumeExperiment(out);
    expect(readRunContents(out)).toEqual(alone);
  });
});
