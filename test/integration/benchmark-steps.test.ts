/**
 * Metrics inside an experiment: after rounds and at the end of each arm. The run is aborted again and again, inside training and inside
 * the metrics, and must end with the answers, scores and adapters of one that was left alone.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { EVALUATION_CLOCK_COLUMNS } from "../../src/benchmarks/schema.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import type { RunEvent } from "../../src/run/events.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { readRunContents } from "../helpers/run-contents.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

const BENCHMARKS = "evaluation: {benchmarks: {metrics: [heldout, reply], everyRounds: 1, maxClients: 2, contextLength: 64, options: {reply: {maxNewTokens: 4}}}}";

function contentsOf(folder: string) {
  const database = new Database(join(folder, "evaluation.sqlite"), { readonly: true });
  try {
    return ["subjects", "evaluations", "items", "gradings", "scores", "unscored"].map((table) =>
      (database.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[]).map((row) => Object.entries(row).filter(([column]) => !EVALUATION_CLOCK_COLUMNS.includes(column))),
    );
  } finally {
    database.close();
  }
}

test("stopped and resumed at many moments, a run with metrics ends like one that was left alone", async () => {
  const folder = makeTemporaryFolder();
  const { file } = writeTinyExperiment(folder, [BENCHMARKS]);
  const config = await configOf(file);
  const whole = join(folder, "whole");
  const events: RunEvent[] = [];
  await runExperiment(config, whole, { onEvent: (event) => events.push(event) });

  const asked = events.flatMap((event) => (event.event === "benchmarked" ? [`${event.arm} ${String(event.round)} ${event.subject} ${event.metric}`] : []));
  expect(asked).toEqual([
    // Of the local arm's three clients two, after the base model that both arms share.
    ...["base F16 heldout", "base F16 reply"].map((text) => `f16-local 3 ${text}`),
    ...asked.filter((text) => text.startsWith("f16-local 3 f16-local/")),
    ...["f16-fedavg 1 f16-fedavg@1", "f16-fedavg 2 f16-fedavg@2", "f16-fedavg 3 f16-fedavg"].flatMap((text) => [`${text} heldout`, `${text} reply`]),
  ]);
  expect(asked.filter((text) => text.startsWith("f16-local 3 f16-local/"))).toHaveLength(4);
  expect(readdirSync(join(whole, "adapters", "f16-fedavg", "rounds"))).toEqual(["1.gguf", "2.gguf"]);

  const stopped = join(folder, "stopped");
  let numStops = 0;
  let numInMetrics = 0;
  for (;;) {
    const controller = new AbortController();
    let numEvents = 0;
    let moment = "";
    const onEvent = (event: RunEvent) => {
      numEvents += 1;
      // Each start gets a little further than the start-up of the one before.
      if (numEvents !== 14 + ((numStops * 7) % 12)) return;
      moment = event.event;
      controller.abort();
    };
    try {
      const options = { onEvent, signal: numStops < 25 ? controller.signal : new AbortController().signal };
      await (numStops === 0 ? runExperiment(config, stopped, options) : resumeExperiment(stopped, options));
      break;
    } catch (error) {
      expect(error).toMatchObject({ code: "CANCELLED" });
      numStops += 1;
      if (moment.startsWith("benchmark")) numInMetrics += 1;
    }
  }
  expect(numStops).toBeGreaterThan(3);
  expect(numInMetrics).toBeGreaterThan(0);
  expect(contentsOf(stopped)).toEqual(contentsOf(whole));
  expect(readRunContents(stopped)).toEqual(readRunContents(whole));
});

test("a metric that there is not is refused before a folder holds a run", async () => {
  const folder = makeTemporaryFolder();
  const { file } = writeTinyExperiment(folder, ["evaluation: {benchmarks: {metrics: [heldut]}}"]);
  await expect(runExperiment(await configOf(file), join(folder, "run"))).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("expected one of heldout, reply") as string });
});
