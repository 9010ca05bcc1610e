/** Goal: runs put together as an experimenter would by hand. The measurements are given, so every expected number can be worked out. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { openMetricsForReading } from "../../../src/metrics/database.js";
import { costs } from "../../../src/metrics/study-queries.js";
import { MIGRATIONS } from "../../../src/metrics/schema.js";
import { buildStudy, type StudyOptions } from "../../../src/report/study/build.js";
import { closeRuns, openRuns } from "../../../src/report/study/source.js";
import { withoutMachinePaths } from "../../../src/report/study/paths.js";
import { tablesOf } from "../../../src/report/study/tables.js";
import type { Study } from "../../../src/report/study/study.js";
import { writeRun, type GivenArm, type GivenRun } from "../../helpers/study-runs.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

async function studyOf(given: readonly GivenRun[], options: StudyOptions = {}): Promise<Study> {
  const parent = makeTemporaryFolder();
  const runs = await openRuns(given.map((run, index) => writeRun(join(parent, `run-${String(index + 1)}`), run)));
  try {
    return buildStudy(runs, options);
  } finally {
    closeRuns(runs);
  }
}

/** Two precisions whose losses after two rounds differ by 0.1, 0.2 and 0.3 over seeds. */
const threeSeeds: readonly GivenRun[] = [0, 1, 2].map((seed) => ({
  seed,
  arms: [
    { name: "f16-fedavg", losses: [3, 2, 1 + seed], weightBytes: 1000 },
    { name: "q4-fedavg", precision: "Q4_K_M", losses: [3.5, 2.5, 1 + seed + 0.1 * (seed + 1)], weightBytes: 250 },
  ],
}));

test("quality is the mean of the last round over seeds with its interval, beside the value before training", async () => {
  const { quality } = await studyOf(threeSeeds);
  // 1, 2, 3: half the interval is t(2) / sqrt(3).
  expect(quality[0]).toMatchObject({ arm: "f16-fedavg", metric: "heldout_loss", before: 3, value: { count: 3, mean: 2, min: 1, max: 3 } });
  expect(quality[0]?.value.high).toBeCloseTo(2 + 4.302_652_73 / Math.sqrt(3), 7);
});

test("arms are compared on shared seeds, and the answer names what is lost and saved", async () => {
  const { comparisons, answer } = await studyOf(threeSeeds);
  expect(comparisons).toHaveLength(1);
  const [comparison] = comparisons;
  expect(comparison).toMatchObject({ first: "q4-fedavg", second: "f16-fedavg", difference: { count: 3 } });
  // 0.1, 0.2, 0.3: t = 2 sqrt(3), as in the test of the statistics; 9 decimals, since the differences carry the rounding of 3.3 - 3.
  const t = 2 * Math.sqrt(3);
  expect(comparison?.difference.mean).toBeCloseTo(0.2, 9);
  expect(comparison?.pValue).toBeCloseTo(1 - t / Math.sqrt(2 + t * t), 9);
  expect(comparison?.adjustedPValue).toBe(comparison?.pValue);
  expect(comparison?.permutationPValue).toBe(0.25);
  expect(answer.lines).toMatchObject([{ arm: "q4-fedavg", reference: "f16-fedavg", weights: 0.25 }]);
  expect(answer.sentence).toBe("Training on Q4_K_M costs nothing in held-out loss that 3 seeds can show, and takes 75 % less memory for weights.");
  expect(answer.detail).toBe("fedavg ends at a held-out loss of 2.2000, against 2.0000 on F16: +0.2000 ± 0.2484 (95 % interval over 3 seeds, p = 0.074 by the paired t test).");
});

test("too few seeds, and seeds that are not shared, give no test", async () => {
  const two = await studyOf(threeSeeds.slice(0, 2));
  expect(two.comparisons[0]).toMatchObject({ refused: "2 of at least 3 pairs" });
  expect(two.answer.sentence).toContain("cannot be told from 2 seeds");
  expect(two.answer.detail).toContain("too few for a test");
  const [first] = threeSeeds;
  const apart = await studyOf([
    { seed: 1, arms: first?.arms.slice(0, 1) ?? [] },
    { seed: 2, arms: first?.arms.slice(1) ?? [] },
  ]);
  expect(apart.comparisons).toEqual([]);
});

test("the same name with other settings, or on other data, is another arm, and what differs is said", async () => {
  const arm = (rank: number): GivenArm => ({ name: "fedavg", rank, losses: [2, 1] });
  const { arms, quality, comparisons } = await studyOf([
    { seed: 1, arms: [arm(8)] },
    { seed: 2, arms: [arm(8)] },
    { seed: 1, arms: [arm(16)] },
    { seed: 1, arms: [arm(8)], dataHash: "e".repeat(64) },
  ]);
  expect(arms.map((one) => one.arm)).toEqual([
    "fedavg [lora.rank=8, sha256 of data.train=dddddddd]",
    "fedavg [lora.rank=16, sha256 of data.train=dddddddd]",
    "fedavg [lora.rank=8, sha256 of data.train=eeeeeeee]",
  ]);
  expect(quality.map(({ value }) => value.count)).toEqual([2, 1, 1]);
  // Other data is never paired, whatever the seed.
  expect(comparisons.map(({ first, second }) => [first, second].filter((name) => name.includes("eeee")))).toEqual(comparisons.map(() => []));
});

test("of two trainings with one seed the finished one counts, and that is said", async () => {
  const { notes, quality, runs } = await studyOf([
    { seed: 1, arms: [{ name: "a", losses: [2, 1] }], startedAt: "2026-01-01T00:00:00.000Z" },
    { seed: 1, arms: [{ name: "a", losses: [2, 9], isFinished: false }], startedAt: "2026-01-02T00:00:00.000Z" },
  ]);
  expect(quality[0]?.value).toMatchObject({ count: 1, mean: 1 });
  expect(notes).toContain("a with seed 1 is in run-1 and in run-2; the first of them counts.");
  expect(runs.map(({ state }) => state)).toEqual(["finished", "unfinished"]);
});

test("a training that goes on has preliminary values and no tests", async () => {
  const { arms, comparisons, notes } = await studyOf(threeSeeds.map((run) => ({ ...run, arms: run.arms.map((arm) => (arm.name === "q4-fedavg" ? { ...arm, isFinished: false } : arm)) })));
  expect(arms.map(({ isPreliminary }) => isPreliminary)).toEqual([false, true]);
  expect(comparisons).toMatchObject([{ refused: "not finished" }]);
  expect(notes.some((note) => note.startsWith("Preliminary") && note.includes("q4-fedavg"))).toBe(true);
});

test("costs are sums of what was measured; energy only when every round has it", async () => {
  const energy = { cpuJoules: 10, source: "rapl" };
  const clientLosses = { ana: [3, 2, 1], ben: [3, 2, 1] };
  const whole = await studyOf([{ seed: 1, arms: [{ name: "a", losses: [3, 2, 1], clientLosses, energy: [energy, energy, { ...energy, gpuJoules: 5 }] }] }]);
  // 2 rounds of 500 bytes up and 2 clients with 500 each way; 1000 ms a round of which 400 are evaluation; 200 tokens in 400 ms a round.
  expect(whole.costs[0]).toMatchObject({ weightBytes: 1000, trafficBytes: { mean: 4000 }, durationMs: { mean: 1200 }, tokensPerSecond: { mean: 500 }, peakMemoryBytes: { mean: 5002 }, cpuEnergyJoules: { mean: 20 }, energySource: "rapl" });
  expect(whole.costs[0]).not.toHaveProperty("gpuEnergyJoules");
  expect(whole.costs[0]).not.toHaveProperty("plannedPeakBytes");
  const part = await studyOf([{ seed: 1, arms: [{ name: "a", losses: [3, 2, 1], clientLosses, energy: [energy, energy] }] }]);
  expect(part.costs[0]).not.toHaveProperty("cpuEnergyJoules");
});

test("the target is the best that all trainings reached, or a given one", async () => {
  const arms = [
    { name: "fast", losses: [4, 2, 1, 0.5] },
    { name: "slow", strategy: "fedprox", losses: [4, 3, 2.5, 2] },
  ];
  const { target } = await studyOf([{ seed: 1, arms }]);
  expect(target).toMatchObject({ value: 2, origin: "reachedByAll" });
  expect(target?.lines).toMatchObject([
    { arm: "fast", numReached: 1, rounds: { mean: 1 }, bytes: { mean: 1000 }, durationMs: { mean: 1200 } },
    { arm: "slow", numReached: 1, rounds: { mean: 3 }, bytes: { mean: 3000 }, durationMs: { mean: 2400 } },
  ]);
  const given = await studyOf([{ seed: 1, arms }], { target: 0.7 });
  expect(given.target?.lines).toMatchObject([{ numReached: 1, rounds: { mean: 3 } }, { numReached: 0 }]);
});

test("fairness looks at the worst tenth of the clients, at the spread, and at who gained", async () => {
  // Clients 1 to 20 end with losses 1 to 20: the worst tenth are 19 and 20. Those below 11 began with 10.5.
  const clientLosses = Object.fromEntries(Array.from({ length: 20 }, (_, index) => [`c${String(index + 1)}`, [10.5, index + 1]]));
  const { fairness, clients } = await studyOf([{ seed: 1, arms: [{ name: "a", losses: [3, 2], clientLosses }] }]);
  expect(fairness[0]).toMatchObject({ numClients: 20, mean: { mean: 10.5 }, worst: { mean: 19.5 }, improved: { mean: 0.5 } });
  // The variance of 1 to n is (n^2 - 1) / 12.
  expect(fairness[0]?.spread.mean).toBeCloseTo(Math.sqrt(399 / 12), 12);
  expect(clients.find(({ clientId }) => clientId === "c7")).toMatchObject({ numRounds: 1, numExamples: 3, values: [{ metric: "heldout_loss", value: 7, before: 10.5 }] });
});

test("a precision is tested averaged over federated strategies, on seeds that all of them have", async () => {
  const arm = (name: string, precision: string, strategy: string, loss: number): GivenArm => ({ name: `${name}-${strategy}`, precision, strategy, losses: [9, loss] });
  // Losses on Q4_K_M are higher by 0.1, 0.2, 0.3 for FedAvg and by 0.1, 0.4, 0.7 for FedProx, so by 0.1, 0.3, 0.5 on average; local ones by 5, which does not count.
  const runs = [0, 1, 2, 3].map((seed) => ({
    seed,
    arms: [
      ...(["fedavg", "fedprox", "local"] as const).map((strategy) => arm("f16", "F16", strategy, 1)),
      arm("q4", "Q4_K_M", "fedavg", 1 + 0.1 * (seed + 1)),
      // The fourth seed has no FedProx, so that it counts for no average.
      ...(seed === 3 ? [] : [arm("q4", "Q4_K_M", "fedprox", 1 + 0.1 + 0.3 * seed)]),
      arm("q4", "Q4_K_M", "local", 6),
    ],
  }));
  const { mainEffects, answer } = await studyOf(runs);
  const effect = mainEffects.find(({ factor }) => factor === "precision");
  expect(effect).toMatchObject({ metric: "heldout_loss", level: "Q4_K_M", reference: "F16", numPairs: 2, difference: { count: 3 } });
  expect(effect?.difference.mean).toBeCloseTo(0.3, 9);
  // t = 0.3 / (0.2 / sqrt(3)) with 2 degrees of freedom, whose distribution has a closed form.
  const t = 1.5 * Math.sqrt(3);
  expect(effect?.pValue).toBeCloseTo(1 - t / Math.sqrt(2 + t * t), 9);
  expect(effect?.adjustedPValue).toBe(effect?.pValue);
  expect(answer.effect).toEqual(effect);
  expect(answer.sentence).toMatch(/^Averaged over 2 federated strategies, training on Q4_K_M costs nothing in held-out loss that 3 seeds can show, and takes/u);
  // Local against FedAvg over both precisions, with Holm's correction over two strategies.
  const strategies = mainEffects.filter(({ factor }) => factor === "strategy");
  expect(strategies).toMatchObject([{ level: "fedprox", reference: "fedavg", numPairs: 2 }, { level: "local", numPairs: 2, difference: { count: 4 } }]);
  expect((await studyOf(threeSeeds)).mainEffects).toEqual([]);
});

test("an adapter on another precision is set against itself at home and against the adapter trained there", async () => {
  // Seed 0: used on F16 the quantized arm's adapter has 1.05; at home 1.1; the one trained on F16 has 1 there.
  const moved = threeSeeds.map(({ seed, arms: [f16, q4] }) => {
    const [own, other] = [1 + seed, 1 + seed + 0.1 * (seed + 1)];
    if (f16 === undefined || q4 === undefined) throw new Error("two arms");
    return { seed, arms: [{ ...f16, transfer: { F16: own, Q4_K_M: own + 0.5 } }, { ...q4, transfer: { F16: other - 0.05, Q4_K_M: other } }] };
  });
  const study = await studyOf(moved);
  expect(study.transfer).toMatchObject({ metric: "heldout_loss", precisions: ["F16", "Q4_K_M"] });
  const lineOf = (arm: string, precision: string) => study.transfer?.lines.find((line) => line.arm === arm && line.precision === precision);
  expect(lineOf("q4-fedavg", "F16")?.minusOwn?.mean).toBeCloseTo(-0.05, 9);
  // 0.1, 0.2, 0.3 less 0.05 each.
  expect(lineOf("q4-fedavg", "F16")?.minusTrainedThere).toMatchObject({ count: 3 });
  expect(lineOf("q4-fedavg", "F16")?.minusTrainedThere?.mean).toBeCloseTo(0.15, 9);
  expect(lineOf("f16-fedavg", "Q4_K_M")?.minusTrainedThere?.mean).toBeCloseTo(0.3, 9);
  expect(lineOf("f16-fedavg", "F16")).not.toHaveProperty("minusOwn");
  const table = tablesOf(study).find(({ name }) => name === "transfer");
  expect(table?.columns.map(({ title }) => title)).toEqual(["adapter of arm", "on F16", "on Q4_K_M"]);
  expect(table?.rows[1]?.[0]).toBe("q4-fedavg");
  expect((await studyOf(threeSeeds)).transfer).toBeUndefined();
  expect(study.transfer?.averages).toEqual([]);

  // A second strategy whose adapters lose 0.25 more on F16: (-0.05 + 0.2) / 2 at home, and against those trained there 0.15 and 0.4.
  const second = moved.map(({ seed, arms }) => ({ seed, arms: [...arms, ...arms.map((arm) => ({ ...arm, name: arm.name.replace("fedavg", "fedprox"), strategy: "fedprox", transfer: { ...arm.transfer, ...(arm.name.startsWith("q4") ? { F16: arm.transfer.F16 + 0.25 } : {}) } }))] }));
  const average = (await studyOf(second)).transfer?.averages.find(({ usedOn }) => usedOn === "F16");
  expect(average).toMatchObject({ trainedOn: "Q4_K_M", usedOn: "F16", numArms: 2, minusOwn: { count: 3 }, minusTrainedThere: { count: 3 } });
  expect(average?.minusOwn.mean).toBeCloseTo(0.075, 9);
  expect(average?.minusTrainedThere?.mean).toBeCloseTo(0.275, 9);
});

test("what was predicted stands beside what happened, with how often it was within its range", async () => {
  // Two rounds of 1000 ms and one evaluation before: 3000 ms; the range holds it once.
  const study = await studyOf([
    { seed: 1, arms: [{ name: "fedavg", losses: [3, 2, 1], predicted: { duration_ms: [1500, 1000, 3000], energy_joules: [5, 1, 9] } }] },
    { seed: 2, arms: [{ name: "fedavg", losses: [3, 2, 1], predicted: { duration_ms: [6000, 4000, 9000] } }] },
  ]);
  expect(study.predictions).toMatchObject([
    { arm: "fedavg", quantity: "duration_ms", predicted: { mean: 3750 }, happened: { mean: 3000 }, ratio: { mean: 1.25, min: 0.5, max: 2 }, numMeasured: 2, numRanged: 2, numWithin: 1 },
    { arm: "fedavg", quantity: "energy_joules", predicted: { mean: 5 }, numMeasured: 0, numWithin: 0 },
  ]);
  expect(tablesOf(study).find(({ name }) => name === "predicted")?.rows).toEqual([["time", "7.5s", "6.0s", 1.25, 1.25, 1.25, "1 of 2"]]);
});

test("what is passed on names no folder of the machine", async () => {
  const study = await studyOf([{ seed: 1, arms: [{ name: "fedavg", losses: [2, 1] }] }]);
  const [run] = study.runs;
  if (run === undefined) throw new Error("one run");
  const parent = join(run.folder, "..");
  const given = { ...study, runs: [{ ...run, config: `train: ${parent}/a.json\nmodel: /opt/package/m.gguf\nother: /home/me/x` }] };
  const paths = { workingFolder: parent, packageRoot: "/opt/package", home: "/home/me" };
  expect(withoutMachinePaths(given, paths).runs[0]).toMatchObject({ folder: "run-1", config: "train: ./a.json\nmodel: <fedllm-native>/m.gguf\nother: ~/x", record: run.record });
  expect(JSON.stringify(withoutMachinePaths(given, paths))).not.toContain(parent);
});

test("an arm or a metric that nobody has is refused with the ones there are", async () => {
  await expect(studyOf(threeSeeds, { against: "no-such" })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("f16-fedavg, q4-fedavg") as string });
  await expect(studyOf(threeSeeds, { metric: "bleu" })).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("heldout_loss") as string });
  await expect(openRuns([join(makeTemporaryFolder(), "nothing")])).rejects.toMatchObject({ code: "RUN_NOT_FOUND" });
});

test("measurements of an older release are read through a copy in memory, and the file stays as it is", () => {
  const path = resolve("test/fixtures/metrics-v1.sqlite");
  const hash = () => createHash("sha256").update(readFileSync(path)).digest("hex");
  const before = hash();
  const database = openMetricsForReading(path);
  expect(database.pragma("user_version", { simple: true })).toBe(MIGRATIONS.length);
  expect(costs(database, "aggregation_error").length).toBeGreaterThan(0);
  database.close();
  expect(hash()).toBe(before);
});

test("an older file with rows only in its log is copied with them", () => {
  const path = join(makeTemporaryFolder(), "metrics.sqlite");
  const writer = new Database(path);
  writer.pragma("journal_mode = WAL");
  writer.pragma("wal_autocheckpoint = 0");
  writer.exec(MIGRATIONS[0] ?? "");
  writer.pragma("user_version = 1");
  writer.pragma("application_id = 1178881101");
  writer.exec("INSERT INTO runs VALUES ('r', '2026-01-01T00:00:00Z', 7, '{}', '{}', NULL)");
  const database = openMetricsForReading(path);
  expect(database.prepare("SELECT seed FROM runs").pluck().get()).toBe(7);
  database.close();
  writer.close();
});
