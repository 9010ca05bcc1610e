/** Grids of arms as they are trained: what the cells of one seed have in common, and that running several at once changes nothing. */
import { createHash } from "node:crypto";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import type { EngineFactory } from "../../src/experiment.js";
import type { LocalTrainer } from "../../src/federated/local-trainer.js";
import { buildStudy } from "../../src/report/study/build.js";
import { closeRuns, openRuns } from "../../src/report/study/source.js";
import type { RunEvent } from "../../src/run/events.js";
import { planExperiment } from "../../src/run/plan.js";
import { createNativeEngine } from "../../src/run/native-engine.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

const GRID = "arms: {precisions: [F16, Q8_0], strategies: [fedavg, ffa-lora], seeds: [0, 1]}";

function makeTiny(changes: readonly string[]) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  return { folder, file: writeTinyExperiment(folder, changes).file };
}

/** The native engine, with a look at what every training begins with and learns from: a hash of each, in order. */
function watched(begun: { readonly weights: string; readonly samples: string }[]): EngineFactory {
  return async (config) => {
    const engine = await createNativeEngine({ numThreads: config.numThreads });
    const watch = (trainer: LocalTrainer): LocalTrainer =>
      new Proxy(trainer, {
        get: (target, name) => {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== "function") return value;
          if (name !== "train") return value.bind(target) as unknown;
          return (...[request, signal]: Parameters<LocalTrainer["train"]>) => {
            begun.push({ weights: hashOf(request.weights), samples: hashOf(Int32Array.from(request.samples.flatMap(({ tokens }) => [...tokens]))) });
            return target.train(request, signal);
          };
        },
      });
    return {
      ...engine,
      openBaseModel: async (path, variants) => {
        const base = await engine.openBaseModel(path, variants);
        const trainer = base.trainer.bind(base);
        base.trainer = (lora) => watch(trainer(lora));
        return base;
      },
    };
  };
}

const hashOf = (values: Float32Array | Int32Array) => createHash("sha256").update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength)).digest("hex");

test("cells of one seed have equal cohorts, batches and initial bits, and the study takes seeds as repetitions of an arm", async () => {
  const { folder, file } = makeTiny([GRID]);
  const config = await configOf(file, "training.numRounds=1");
  const out = join(folder, "out");
  const begun: { readonly weights: string; readonly samples: string }[] = [];
  await runExperiment(config, out, { createEngine: watched(begun) });

  const database = new Database(join(out, "metrics.sqlite"), { readonly: true });
  const rows = database.prepare("SELECT arm, client_id AS client, num_samples AS samples, num_tokens AS tokens FROM client_rounds ORDER BY arm, client").all() as { arm: string }[];
  database.close();
  const perArm = rows.length / config.arms.length;
  expect(begun).toHaveLength(rows.length);
  const bySeed = (seed: number) => config.arms.flatMap((arm, index) => (arm.seed === seed ? [{ arm, trainings: begun.slice(index * perArm, (index + 1) * perArm) }] : []));
  for (const seed of [0, 1]) {
    const [first, ...others] = bySeed(seed);
    expect(others).toHaveLength(3);
    for (const { arm, trainings } of others) {
      expect(trainings).toEqual(first?.trainings);
      const mine = (name: string | undefined) => rows.filter((row) => row.arm === name).map(({ arm: _arm, ...row }) => row);
      expect(mine(arm.name)).toEqual(mine(first?.arm.name));
    }
  }
  expect(bySeed(1)[0]?.trainings[0]?.weights).not.toBe(bySeed(0)[0]?.trainings[0]?.weights);

  const runs = await openRuns([out]);
  const { arms } = buildStudy(runs);
  closeRuns(runs);
  expect(arms.map(({ arm, cells }) => [arm, cells.map(({ seed }) => seed)])).toEqual(["f16-fedavg", "f16-ffa-lora", "q8_0-fedavg", "q8_0-ffa-lora"].map((name) => [name, [0, 1]]));
});

test("several arms at once give the bits of one after another, also when they are interrupted and resumed", async () => {
  const { folder, file } = makeTiny([GRID]);
  const config = await configOf(file, "training.numRounds=2");
  const [one, several, stopped] = ["one", "several", "stopped"].map((name) => join(folder, name)) as [string, string, string];
  await runExperiment(config, one);
  let [atWork, mostAtWork] = [0, 0];
  const { record } = await runExperiment(config, several, {
    parallelArms: 4,
    onEvent: ({ event }) => {
      if (event === "arm_started") atWork += 1;
      if (event === "arm_finished") atWork -= 1;
      mostAtWork = Math.max(mostAtWork, atWork);
    },
  });
  expect(mostAtWork).toBe(4);
  expect(record.machine.peakMemoryScope).toBe("process");
  expect(readRunContents(several)).toEqual(readRunContents(one));

  const interrupt = new AbortController();
  let numRounds = 0;
  const onEvent = ({ event }: RunEvent) => {
    numRounds += event === "round_finished" ? 1 : 0;
    if (numRounds === 7) interrupt.abort();
  };
  await expect(runExperiment(config, stopped, { parallelArms: 3, signal: interrupt.signal, onEvent })).rejects.toMatchObject({ code: "CANCELLED" });
  const skipped: RunEvent[] = [];
  await resumeExperiment(stopped, {
    parallelArms: 2,
    onEvent: (event) => {
      if (event.event === "arm_skipped") skipped.push(event);
    },
  });
  expect(skipped.length).toBeGreaterThan(0);
  expect(readRunContents(stopped)).toEqual(readRunContents(one));
});

test("an arm that fails stops the others, and its error is the run's", async () => {
  const { folder, file } = makeTiny(["arms: [{precision: F16, name: good}, {precision: F16, name: bad, training: {minClients: 3}, federation: {wallClockTimeoutSeconds: 0.001}}]"]);
  const run = runExperiment(await configOf(file, "training.numRounds=500"), join(folder, "out"), { parallelArms: 2 });
  await expect(run).rejects.toMatchObject({ code: "COHORT_TOO_SMALL" });
});

test("the precision in which the adapter travels is a dimension: fewer bytes, as the plan says, and other bits", async () => {
  const { folder, file } = makeTiny(["arms: {precisions: [F16], strategies: [fedavg, ffa-lora], vary: {federation.adapterPrecision: [f32, f16, bf16, q8_0]}}"]);
  const config = await configOf(file, "training.numRounds=2");
  const out = join(folder, "out");
  await runExperiment(config, out);
  await runExperiment(await configOf(file, "training.numRounds=2", "arms={precisions: [F16], strategies: [fedavg]}"), join(folder, "plain"));
  const { adapters } = readRunContents(out);
  expect(adapters["f16-fedavg-adapterPrecisionf32.gguf"]).toBe(readRunContents(join(folder, "plain")).adapters["f16-fedavg.gguf"]);
  expect(new Set(Object.values(adapters)).size).toBe(8);

  const plan = await planExperiment(config, await createNativeEngine({ numThreads: 1 }));
  const database = new Database(join(out, "metrics.sqlite"), { readonly: true });
  const sums = database.prepare("SELECT a.name, sum(r.upload_bytes) AS uploadBytes, sum(r.download_bytes) AS downloadBytes FROM arms a JOIN rounds r ON r.arm = a.name GROUP BY a.name ORDER BY a.arm_index").all();
  database.close();
  expect(plan.arms.map(({ name, uploadBytes, downloadBytes }) => ({ name, uploadBytes, downloadBytes }))).toEqual(sums);
  // Three answers in each of two rounds, with a header each.
  const numbers = (plan.arms[0]?.trainableParameters ?? 0) / 32;
  expect(plan.arms.slice(0, 4).map(({ uploadBytes }) => (uploadBytes / 6 - 112) / numbers)).toEqual([128, 64, 64, 34]);

  for (const strategy of ["scaffold", "fedbuff", "flora", "fed-sb"]) {
    await expect(configOf(file, `arms={strategies: [${strategy}]}`, "federation.adapterPrecision=f16")).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(`f32 with strategy ${strategy}`) as string });
  }
});
