/** The base is in memory once, whatever the number of models and processes over one file. Linux, whose kernel counts it. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, statSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { expect, onTestFinished, test, vi } from "vitest";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TEST_ADAPTER, makeTestFolder, makeTinyModelFile, makeTrainRequest } from "../helpers/native.js";

// Starting processes takes seconds on a busy machine.
vi.setConfig({ testTimeout: 120_000 });

const HOLDER = resolve(import.meta.dirname, "../helpers/model-holder.ts");
const folder = makeTestFolder();
const path = makeTinyModelFile(folder, "shared.gguf", { embeddingLength: 512 });

/** Bytes of a process's mappings of a file: resident, and the process's share of them. */
function mappingOf(pid: number, file: string): { rss: number; pss: number; mappings: number } {
  const sum = { rss: 0, pss: 0, mappings: 0 };
  let isWanted = false;
  for (const line of readFileSync(`/proc/${String(pid)}/smaps`, "utf8").split("\n")) {
    if (/^[0-9a-f]+-[0-9a-f]+ /u.test(line)) {
      isWanted = line.endsWith(file);
      if (isWanted) sum.mappings += 1;
      continue;
    }
    const field = /^(Rss|Pss):\s+(\d+) kB$/u.exec(line);
    if (!isWanted || field === null) continue;
    if (field[1] === "Rss") sum.rss += Number(field[2]) * 1024;
    else sum.pss += Number(field[2]) * 1024;
  }
  return sum;
}

async function startHolder(): Promise<number> {
  const child = spawn(process.execPath, ["--import", "tsx", HOLDER, path], { stdio: ["pipe", "pipe", "inherit"] });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  const [said] = (await once(createInterface(child.stdout), "line")) as [string];
  expect(said).toBe("loaded");
  if (child.pid === undefined) throw new Error("the holder has no process id");
  return child.pid;
}

test.runIf(process.platform === "linux")("processes over one file share its pages", async () => {
  const pids = await Promise.all([startHolder(), startHolder()]);
  for (const pid of pids) {
    const { rss, pss } = mappingOf(pid, path);
    expect(rss).toBeGreaterThan(0.5 * statSync(path).size);
    // Half each, and whatever the test's own process has in common with them.
    expect(pss).toBeLessThan(0.6 * rss);
  }
});

test.runIf(process.platform === "linux")("all clients of a process train over one mapping", async () => {
  const model = await BaseModel.open(loadNative().addon, path, { numThreads: 1 });
  try {
    const trainer = new NativeTrainer(model, TEST_ADAPTER);
    const start = trainer.initialWeights(0);
    await Promise.all([0, 1, 2].map((seed) => trainer.train(makeTrainRequest(start, { seed }))));
    expect(mappingOf(process.pid, path).mappings).toBe(1);
  } finally {
    model.dispose();
  }
});
