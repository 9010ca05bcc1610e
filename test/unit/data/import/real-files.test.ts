/** Published files, where they are present, through import and split: nothing is lost but what is named. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { readFederatedDataset } from "../../../../src/data/dataset.js";
import type { FederatedDataset } from "../../../../src/data/dataset.js";
import { parseFieldMap } from "../../../../src/data/import/field-map.js";
import { importData } from "../../../../src/data/import/import.js";
import type { ImportOptions } from "../../../../src/data/import/import.js";
import { splitData } from "../../../../src/data/split/split.js";
import type { SplitOptions } from "../../../../src/data/split/split.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

const SHARED = resolve(import.meta.dirname, "../../../../../shared/data");
const AYA = join(SHARED, "fedllm-bench/aya_evaluation__test_datasets.json");
const QUESTIONS = ["wildchat", "chatbot"].map((name) => join(SHARED, `fedllm-bench/${name}__testset.json`));
const ADVBENCH = join(SHARED, "fedllm-bench/advbench__advbench.csv");
const PAIRS = join(SHARED, "preference/hh-rlhf_harmless-base_test.jsonl.gz");
const PLAYS = join(SHARED, "text/tinyshakespeare.txt");
const isMissing = [AYA, ...QUESTIONS, ADVBENCH, PAIRS, PLAYS].some((path) => !existsSync(path));
if (isMissing) console.log(`skipped: published files are absent in ${SHARED}`);

async function bring(file: string, options: Partial<ImportOptions> = {}) {
  const out = join(makeTemporaryFolder(), "out.json");
  const result = await importData({ files: [file], map: new Map(), keep: [], out, ...options });
  return { result, dataset: await readFederatedDataset(out) };
}

async function deal(file: string, options: Partial<SplitOptions>) {
  const out = join(makeTemporaryFolder(), "out.json");
  const result = await splitData({ files: [file], map: new Map(), keep: [], out, method: "iid", numClients: 10, seed: 0, ...options });
  return { result, dataset: await readFederatedDataset(out) };
}

/** All samples of a data set, in an order that does not depend on its clients. */
const samplesOf = ({ clients }: FederatedDataset) => clients.flatMap(({ samples }) => samples.map((sample) => JSON.stringify(sample))).sort();

describe.skipIf(isMissing)("published files", () => {
  test("Fed-Aya's test set is imported as the reader reads it, and split by language into its languages", async () => {
    const { result, dataset } = await bring(AYA);
    const direct = await readFederatedDataset(AYA);
    expect(dataset.clients).toEqual(direct.clients);
    expect(result).toMatchObject({ numSamples: 160, numProblems: 0 });
    const split = await deal(AYA, { method: "dirichlet", by: "language", alpha: 0.1 });
    expect(samplesOf(split.dataset)).toEqual(samplesOf(direct));
    // Guesses on short questions are not all right, but the eight languages are the most frequent ones.
    for (const language of ["ar", "en", "es", "fr", "pt", "ru", "te", "zh"]) expect(split.result.classes).toContain(language);
    expect(split.result.skew.classDistance).toBeGreaterThan((await deal(AYA, { by: "language" })).result.skew.classDistance);
  });

  test.each(QUESTIONS)("%s has questions alone and is refused with all of them", async (file) => {
    await expect(bring(file)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("none, and 50 problems") as string });
  });

  test("AdvBench is a table of goals and targets", async () => {
    const { result, dataset } = await bring(ADVBENCH, { map: parseFieldMap(["instruction=goal", "response=target"]) });
    expect(result).toMatchObject({ numRecords: 520, numSamples: 520, numProblems: 0 });
    expect(dataset.clients.map(({ id, samples }) => [id, samples.length])).toEqual([["advbench__advbench", 520]]);
  });

  test("the pairs of hh-rlhf become turns that say what the transcripts say, and are split by length", async () => {
    const { result, dataset } = await bring(PAIRS);
    const lines = gunzipSync(readFileSync(PAIRS)).toString("utf8").trim().split("\n");
    expect(result).toMatchObject({ form: "hh-rlhf", numRecords: lines.length, numSamples: 2299, numProblems: 13 });
    // Every pair, written as a transcript again, is a line of the file, but for the white space around turns.
    const squeeze = (text: string) => text.replaceAll(/\s+/g, " ").trim();
    const known = new Set(lines.map((line) => squeeze((JSON.parse(line) as { chosen: string }).chosen)));
    for (const sample of dataset.clients[0]?.samples ?? []) {
      if (sample.kind !== "preference" || typeof sample.prompt === "string") throw new Error("not a pair of turns");
      const turns = [...sample.prompt, { role: "assistant", text: sample.chosen }];
      expect(known.has(squeeze(turns.map(({ role, text }) => `${role === "user" ? "Human" : "Assistant"}: ${text}`).join(" ")))).toBe(true);
    }
    const split = await deal(PAIRS, { method: "pathological", by: "length", shardsPerClient: 1 });
    expect(split.dataset.clients).toHaveLength(10);
    expect(samplesOf(split.dataset)).toEqual(samplesOf(dataset));
    expect(split.result.skew.lengthDistance).toBeGreaterThan(0.8);
  });

  test("the plays have 299 speakers, and each becomes a client of its own speeches", async () => {
    const { result, dataset } = await bring(PLAYS);
    expect(dataset.clients).toHaveLength(299);
    const text = readFileSync(PLAYS, "utf8");
    for (const { id, samples } of dataset.clients.slice(0, 50)) {
      for (const sample of samples.slice(0, 20)) {
        if (sample.kind !== "single-turn") throw new Error("not a speech");
        expect(text).toContain(`${id}:\n${sample.response}`);
      }
    }
    // Every record is a speech; the first one answers nothing, and speeches without a word are named.
    expect(result.numSamples + result.numProblems).toBe(text.split(/\n\n+/).length - 1);
    const split = await deal(PLAYS, { method: "quantity", numClients: 50, alpha: 1 });
    expect(split.dataset.numSamples).toBe(result.numSamples);
    expect(split.result.skew.sizeGini).toBeGreaterThan(0.3);
  });
});
