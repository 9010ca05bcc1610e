/** The bytes that --dry-run says beforehand are those that the run records, for every strategy and over all rounds. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { totals } from "../../src/metrics/queries.js";
import { createNativeEngine } from "../../src/run/native-engine.js";
import { planExperiment } from "../../src/run/plan.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { configOf, writeTinyExperiment } from "../helpers/tiny-experiment.js";

/** Planned and recorded bytes of all arms, two clients of six in each of five rounds: some come back, some do not. */
async function compare(arms: readonly string[], ...settings: readonly string[]) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, [`arms: [${arms.join(", ")}]`], { numLayers: 3 });
  const config = await configOf(file, "training.numRounds=5", "training.clientsPerRound=2", "training.localSteps=1", "training.batchSize=1", ...settings);
  const plan = await planExperiment(config, await createNativeEngine({ numThreads: 1, onProgress: () => undefined }));
  const out = join(folder, "out");
  await runExperiment(config, out);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const lines = plan.arms.map(({ name, uploadBytes, downloadBytes, bytesInAll, bytesAreUpperBound }) => {
    const recorded = totals(database, name);
    expect(bytesInAll).toBe(uploadBytes + downloadBytes);
    return { name, bytesAreUpperBound, planned: [uploadBytes, downloadBytes], recorded: [recorded.uploadBytes, recorded.downloadBytes] };
  });
  database.close();
  return lines;
}

const EXACT = [
  "{strategy: local}",
  "{strategy: fedavg}",
  "{strategy: scaffold}",
  "{strategy: ffa-lora}",
  "{strategy: rolora}",
  "{strategy: fedsa-lora}",
  "{strategy: flexlora, strategyOptions: {clientRanks: [1, 2]}}",
  "{strategy: hetlora, strategyOptions: {clientRanks: [1, 2], pruneFactor: 1}}",
  "{strategy: fedsvd}",
  "{strategy: fed-sb}",
  "{name: fedex, strategy: fedex-lora}",
  "{name: fedex-capped, strategy: fedex-lora, strategyOptions: {extraRank: 3}}",
  "{name: fedex-alone, strategy: fedex-lora, training: {clientsPerRound: 1}}",
  "{name: flora, strategy: flora}",
  "{name: flora-capped, strategy: flora, strategyOptions: {extraRank: 5}}",
  "{name: flora-ranks, strategy: flora, strategyOptions: {clientRanks: [1, 2]}}",
  "{strategy: fedot, strategyOptions: {firstLayers: 1, lastLayers: 1, dropRate: 0}}",
  "{strategy: ditto}",
  "{strategy: feddpa}",
  "{strategy: fedasync}",
  "{strategy: fedbuff, strategyOptions: {bufferSize: 3}}",
  "{strategy: centralized}",
  "{name: encoded, strategy: fedavg, federation: {uplink: q4_0, downlink: f16}}",
  "{name: differences, strategy: fedavg, federation: {uplink: {encoding: q8_0, errorFeedback: true}, downlink: {encoding: q4_0, delta: true}}}",
  "{name: seeded, strategy: ffa-lora, federation: {uplink: bf16, downlink: {encoding: q8_0, delta: true}}}",
  "{name: inner, strategy: fed-sb, federation: {uplink: q8_0}}",
];

test("where everybody answers they are exact", async () => {
  for (const { name, bytesAreUpperBound, planned, recorded } of await compare(EXACT)) {
    expect([name, bytesAreUpperBound, planned]).toEqual([name, false, recorded]);
  }
}, 120_000);

test("with an adapter per group they are exact", async () => {
  const arms = ["fedavg", "fed-sb", "rolora"].map((name) => `{strategy: ${name}, federation: {adapterPerGroup: true}}`);
  for (const { name, bytesAreUpperBound, planned, recorded } of await compare(arms, "data.groups={by: field}")) {
    expect([name, bytesAreUpperBound, planned]).toEqual([name, false, recorded]);
  }
}, 60_000);

const isAtMost = (recorded: readonly number[], planned: readonly number[]) => recorded.every((bytes, index) => bytes <= (planned[index] ?? 0));

test("where what is learned decides, or clients fail, they are a bound and say so", async () => {
  const learned = await compare([
    "{strategy: florist, strategyOptions: {energy: 0.5}}",
    "{strategy: hetlora, strategyOptions: {pruneFactor: 0.5, pruneLambda: 10}}",
    "{name: parts, strategy: fedavg, federation: {uplink: {encoding: q8_0, topK: 0.1}, downlink: {encoding: f16, delta: true, topK: 0.5}}}",
    "{name: packed, strategy: rolora, federation: {uplink: {encoding: f16, compression: deflate}, downlink: {compression: brotli}}}",
  ]);
  const failing = await compare(
    ["{strategy: fedavg}", "{strategy: fed-sb}", "{strategy: fedex-lora}", "{strategy: flora, strategyOptions: {clientRanks: [1, 2]}}", "{strategy: fedbuff}"],
    "federation={overSelection: 1.5, devices: {profiles: {pc: {tokensPerSecond: 50, failureProbability: 0.1}}}}",
  );
  for (const { name, bytesAreUpperBound, planned, recorded } of [...learned, ...failing]) {
    expect([name, bytesAreUpperBound, isAtMost(recorded, planned), recorded.every((bytes) => bytes > 0)]).toEqual([name, true, true, true]);
  }
  // A bound that is far off would be of no use.
  for (const { name, planned, recorded } of failing) expect([name, (planned[0] ?? 0) <= 2 * (recorded[0] ?? 0)]).toEqual([name, true]);
}, 120_000);
