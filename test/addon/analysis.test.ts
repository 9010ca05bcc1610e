/** The analysis of data with a model: losses and hidden states against direct requests, interruption, and generated data whose truth is known. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { analyzeDataset } from "../../src/analysis/analyze.js";
import { embeddingPass } from "../../src/analysis/embeddings.js";
import type { AnalysisModel } from "../../src/analysis/model-findings.js";
import { runPass } from "../../src/analysis/pass.js";
import { qualityPass } from "../../src/analysis/quality.js";
import { chooseSamples, listSamples } from "../../src/analysis/samples.js";
import { AnalysisStore } from "../../src/analysis/store.js";
import { readFederatedDataset } from "../../src/data/dataset.js";
import { syntheticOptions } from "../../src/data/synthetic/profiles.js";
import { writeSyntheticData } from "../../src/data/synthetic/write.js";
import { openAnalysisModel } from "../../src/run/analysis-model.js";
import { makeTestFolder } from "../helpers/native.js";

const opened = await openAnalysisModel({ model: "builtin:fedllm-tiny", template: "alpaca", numThreads: 1 });
const { model } = opened;
const inference = inferenceOf(model);
const { tokenizer } = model;
const setup = { ...inference, tokenizer, modelSha256: model.sha256, maxLength: 256, boundary: 2 };
const folder = makeTestFolder();

function inferenceOf({ inference: computes }: AnalysisModel) {
  if (computes === undefined) throw new TypeError("an opened model computes");
  return computes;
}

afterAll(() => {
  opened.dispose();
});

const single = (instruction: string, response: string) => ({ kind: "single-turn", instruction, response }) as const;
const samples = listSamples({ clients: [{ id: "a", samples: [single("What is 2 + 3?", "It is 5."), single("Name a river.", "The Volga is a river."), single("Long", "word ".repeat(400))] }] });
const newStore = (name: string) => new AnalysisStore(join(folder, `${name}.sqlite`));

/** Mean loss of the answer's tokens behind this text, with the request written by hand. */
async function lossAfter(text: string, answer: string): Promise<number> {
  const prompt = [...(tokenizer.addBos ? [tokenizer.bosToken ?? -1] : []), ...tokenizer.tokenize(text, false)];
  const own = [...tokenizer.tokenize(` ${answer}`, false), tokenizer.eosToken ?? -1];
  const tokens = Int32Array.from([...prompt, ...own]);
  const supervised = Uint8Array.from(tokens, (_, index) => (index >= prompt.length ? 1 : 0));
  const { samples: scores } = await inference.trainer.evaluate({ samples: [{ tokens, supervised }], microBatchTokens: 256 });
  return -(scores[0]?.logProbability ?? 0) / own.length;
}

test("both losses are those of the answer behind the prompt and behind its frame; what is too long is skipped", async () => {
  const store = newStore("quality");
  const [first, second, third] = await runPass(samples, qualityPass(setup), { store });
  const system = "Below is an instruction that describes a task. Write a response that appropriately completes the request.";
  // Samples together and alone are rounded alike or almost so.
  expect(first).toMatchObject({
    lossGivenInstruction: expect.closeTo(await lossAfter(`${system}\n\n### Instruction:\nWhat is 2 + 3? \n\n### Response:`, "It is 5."), 5) as number,
    lossAlone: expect.closeTo(await lossAfter("### Response:", "It is 5."), 5) as number,
  });
  expect(second).toMatchObject({ lossAlone: expect.closeTo(await lossAfter("### Response:", "The Volga is a river."), 5) as number });
  expect(third).toEqual({ skipped: expect.stringContaining("more than 256") as string });
  store.close();
});

test("what was found on one device is not taken for another's", async () => {
  const store = newStore("devices");
  // Two losses of the two samples that are short enough; an embedding of all three.
  for (const [device, expected] of [["CPU", [4, 3]], ["CPU", [0, 0]], ["Vulkan0", [4, 3]]] as const) {
    let numScored = 0;
    const trainer: typeof inference.trainer = {
      evaluate: (request, signal) => {
        numScored += request.samples.length;
        return inference.trainer.evaluate(request, signal);
      },
    };
    let numRead = 0;
    const readHiddenStates: typeof inference.readHiddenStates = (read, ...rest) => {
      numRead += read.length;
      return inference.readHiddenStates(read, ...rest);
    };
    await runPass(samples, qualityPass({ ...setup, device, trainer }), { store });
    await runPass(samples, embeddingPass({ ...setup, device, readHiddenStates }), { store });
    expect([numScored, numRead]).toEqual(expected);
  }
  store.close();
});

test("an embedding at the input of the first layer is the mean of its tokens' own embeddings", async () => {
  const store = newStore("embeddings");
  const [found] = await runPass(samples, embeddingPass({ ...setup, boundary: 0 }), { store });
  const tokens = [...(tokenizer.addBos ? [0] : []), ...tokenizer.tokenize("What is 2 + 3?", false)].slice(1);
  const own = await Promise.all(
    tokens.map(async (token) => (await inference.readHiddenStates([{ tokens: Int32Array.of(token, token), supervised: Uint8Array.of(0, 1) }], 0, undefined)).states),
  );
  const mean = Float32Array.from({ length: inference.width }, (_, index) => own.reduce((sum, state) => sum + (state[index] ?? 0), 0) / own.length);
  expect(found?.length).toBe(inference.width);
  expect(Math.max(...mean.map((value, index) => Math.abs(value - (found?.[index] ?? 0))))).toBeLessThan(1e-6);
  // What comes back from the store has the same bits.
  expect((await runPass(samples, embeddingPass({ ...setup, boundary: 0 }), { store }))[0]).toEqual(found);
  store.close();
});

describe("generated data", async () => {
  const path = join(folder, "data.json");
  const options = syntheticOptions("demo", { numClients: 8, numSamples: 96, minSamples: 10, sizeDeviation: 0, languages: { en: 1, ru: 1 }, languageMixing: 0 });
  await writeSyntheticData(path, { profile: "demo", options, seed: 5 });
  const dataset = await readFederatedDataset(path);
  const counting = { numSamples: 0 };
  const counted: AnalysisModel = {
    ...model,
    inference: {
      ...inference,
      trainer: {
        evaluate: (request, signal) => {
          counting.numSamples += request.samples.length;
          return inference.trainer.evaluate(request, signal);
        },
      },
    },
  };

  const distinct = (perClient: number) => new Set(chooseSamples(listSamples(dataset), perClient).map(({ hash }) => hash)).size;

  test("an interrupted analysis goes on where it was, and a finished one computes nothing", async () => {
    const out = join(folder, "out");
    const controller = new AbortController();
    const stopped = analyzeDataset(dataset, {
      out,
      model: counted,
      modelSamples: 40,
      signal: controller.signal,
      onProgress: ({ step, numDone }) => {
        if (step === "quality" && numDone >= 16) controller.abort();
      },
    });
    await expect(stopped).rejects.toMatchObject({ code: "CANCELLED" });
    // Two losses for each of two batches of eight.
    expect(counting.numSamples).toBe(32);
    const { report } = await analyzeDataset(dataset, { out, model: counted, modelSamples: 40 });
    expect(report.overall.quality?.numScored).toBe(40);
    expect(report.model).toMatchObject({ template: "alpaca", maxSamplesPerClient: 5, boundary: inference.numLayers });
    expect(report.projection?.points).toHaveLength(40);
    const before = counting.numSamples;
    const again = await analyzeDataset(dataset, { out, model: counted, modelSamples: 40 });
    expect(counting.numSamples).toBe(before);
    expect(again.report).toEqual(report);
    // More samples of each client keep those there were.
    await analyzeDataset(dataset, { out, model: counted, modelSamples: 48 });
    expect(before).toBe(2 * distinct(5));
    expect(counting.numSamples).toBe(2 * distinct(6));
  });

  test("clients of one language are more alike in their embeddings than clients of two", async () => {
    const { report } = await analyzeDataset(dataset, { out: join(folder, "out"), model: counted, modelSamples: 48 });
    const { centredSimilarity = [], embeddingSimilarity = [] } = report.similarity;
    const languages = report.clients.map((client) => client.languages[0]?.name);
    const pairs = languages.flatMap((left, i) => languages.flatMap((right, j) => (i < j ? [{ same: left === right, value: centredSimilarity[i]?.[j] ?? 0 }] : [])));
    const same = pairs.filter((pair) => pair.same).map(({ value }) => value);
    const other = pairs.filter((pair) => !pair.same).map(({ value }) => value);
    expect(Math.min(...same)).toBeGreaterThan(Math.max(...other));
    expect(embeddingSimilarity[0]?.[0]).toBeCloseTo(1, 10);
    // The first principal component tells the languages apart.
    const sides = new Map<string, Set<number>>();
    for (const { clientIndex, pca } of report.projection?.points ?? []) {
      const language = languages[clientIndex] ?? "";
      sides.set(language, (sides.get(language) ?? new Set()).add(Math.sign(pca[0])));
    }
    expect([...sides.values()].map(({ size }) => size)).toEqual([1, 1]);
  });

  test("settings that cannot be are refused before anything is computed", async () => {
    const analyze = (options: object) => analyzeDataset(dataset, { out: join(folder, "refused"), model: counted, ...options });
    await expect(analyze({ boundary: inference.numLayers + 1 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(analyze({ maxLength: 1 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
    await expect(analyze({ modelSamples: 0 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  });
});

test("preference pairs and conversations are scored too", async () => {
  const path = join(folder, "pairs.json");
  writeFileSync(path, JSON.stringify({ a: [{ prompt: "Name a river.", chosen: "The Volga.", rejected: "No." }, { prompt: "Add 1 and 2.", chosen: "3", rejected: "5" }] }));
  const pairs = await analyzeDataset(await readFederatedDataset(path), { out: join(folder, "pairs"), model });
  expect(pairs.report.overall).toMatchObject({ quality: { numScored: 2, numSkipped: 0 }, rejectedTokens: { count: 2 } });
  const talks = join(folder, "talks.json");
  const turns = ["Hello", "Hi there", "Name a river.", "The Volga."].map((value, index) => ({ from: index % 2 === 0 ? "human" : "gpt", value }));
  writeFileSync(talks, JSON.stringify({ a: [{ conversations: turns }] }));
  const { report } = await analyzeDataset(await readFederatedDataset(talks), { out: join(folder, "talks"), model });
  expect(report.overall.quality).toMatchObject({ numScored: 1 });
});
