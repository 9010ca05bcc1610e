/**
 * The two stages of alignment as whole runs on the real addon and a tiny model: answers first, then preferences from the
 * adapter of the first stage on.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, evaluationsByArm } from "../../src/metrics/queries.js";
import type { RunEvent } from "../../src/run/events.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

function makeFolder(): string {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  return folder;
}

/** The first stage: one federated arm. */
async function runFirstStage(folder: string) {
  const { file } = writeTinyExperiment(folder, ["arms: {strategies: [fedavg]}"]);
  const out = join(folder, "first");
  const { summary } = await runExperiment(await configOf(file), out);
  return { file, out, summary };
}

/** The second stage: six clients with 3 to 8 pairs each, all of which prefer the same form of answer. */
function writePairs(folder: string): string {
  const users = Array.from({ length: 6 }, (_, user) => {
    const pairs = Array.from({ length: 3 + user }, (_, index) => ({ prompt: `${String(user)}+${String(index)}`, chosen: " yes", rejected: "no!" }));
    return [`user-${String(user)}`, pairs];
  });
  writeFileSync(join(folder, "pairs.json"), JSON.stringify(Object.fromEntries(users)));
  const file = join(folder, "dpo.yaml");
  const lines = [
    "name: tiny-dpo",
    "seed: 3",
    "model: tiny.gguf",
    "data: {train: pairs.json, heldOutFraction: 0.34, template: chat, maxLength: 32, maxPromptLength: 16}",
    "lora: {rank: 2, loraAlpha: 4}",
    "training: {objective: dpo, numRounds: 3, clientsPerRound: 3, localSteps: 2, batchSize: 2, microBatchTokens: 64, initialLearningRate: 1.0e-2, finalLearningRate: 1.0e-3}",
    "numThreads: 1",
    "arms: {strategies: [local, fedavg]}",
  ];
  writeFileSync(file, `${lines.join("\n")}\n`);
  return file;
}

describe("preference training", () => {
  test("raises the reward margin of held-out pairs and records rewards of clients and rounds", async () => {
    const folder = makeFolder();
    const first = await runFirstStage(folder);
    const settings = [`training.startAdapter=${first.out}`, "training.dpo.reference=start"];
    const out = join(folder, "out");
    const { summary } = await runExperiment(await configOf(writePairs(folder), ...settings), out);
    const [start, local, fedavg] = summary.rows;
    // The start adapter is the reference: all its rewards are 0, and the loss is log 2.
    expect(start).toMatchObject({ adapter: "start", rewardAccuracy: 0.5, rewardMargin: 0 });
    expect(start?.dpoLoss).toBeCloseTo(Math.LN2, 12);
    for (const row of [local, fedavg]) {
      expect(row?.rewardMargin).toBeGreaterThan(0);
      expect(row?.dpoLoss).toBeLessThan(Math.LN2);
    }
    const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
    const clients = clientRounds(database, "source-fedavg");
    const metrics = new Set(evaluationsByArm(database, "source-fedavg").map(({ metric }) => metric));
    database.close();
    expect(clients).toHaveLength(9);
    expect(clients.every(({ rewardMargin, chosenReward, rejectedReward }) => Math.abs((chosenReward ?? 0) - (rejectedReward ?? 0) - (rewardMargin ?? 9)) < 1e-9)).toBe(true);
    expect(metrics).toContain("heldout_reward_accuracy");
    expect(metrics).not.toContain("heldout_loss");
  });

  test("repeats to the byte, and an interrupted run ends like one that was left alone", async () => {
    const folder = makeFolder();
    const config = await configOf(writePairsWithModel(folder), "arms={strategies: [local, fedavg, scaffold]}");
    const whole = join(folder, "whole");
    await runExperiment(config, whole);
    const out = join(folder, "out");
    for (const arm of ["source-local", "source-scaffold"]) {
      const controller = new AbortController();
      const onEvent = (event: RunEvent) => {
        if (event.event === "client_step" && event.arm === arm && event.round === 2) controller.abort();
      };
      const options = { onEvent, signal: controller.signal };
      const run = arm === "source-local" ? runExperiment(config, out, options) : resumeExperiment(out, options);
      await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
    }
    await resumeExperiment(out);
    expect(readRunContents(out)).toEqual(readRunContents(whole));
  });
});

function writePairsWithModel(folder: string): string {
  writeTinyExperiment(folder);
  return writePairs(folder);
}
