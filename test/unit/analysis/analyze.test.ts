/** Whole analyses without a model: a data set small enough to count by hand, and generated data whose truth is known. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { analyzeDataset } from "../../../src/analysis/analyze.js";
import type { AnalysisReport } from "../../../src/analysis/report.js";
import { readFederatedDataset } from "../../../src/data/dataset.js";
import { syntheticOptions } from "../../../src/data/synthetic/profiles.js";
import type { SyntheticChanges, SyntheticProfile } from "../../../src/data/synthetic/profiles.js";
import { readSyntheticTruth, writeSyntheticData } from "../../../src/data/synthetic/write.js";
import { createByteTokenizer } from "../../helpers/byte-tokenizer.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const DATA = {
  anna: [
    { instruction: "Write a poem about the sea.", response: "The sea is wide and blue and deep." },
    { instruction: "Write a letter to your friend.", response: "abc" },
    { instruction: "What is the capital of this country?", response: "It is a city by a river." },
  ],
  boris: [{ instruction: "Какая река в этой стране самая длинная и где она начинается?", response: "абв" }],
};

async function analyze(data: unknown, withTokens = false) {
  const folder = makeTemporaryFolder();
  const path = join(folder, "data.json");
  writeFileSync(path, JSON.stringify(data));
  const model = withTokens ? { model: { name: "bytes", sha256: "0".repeat(64), tokenizer: createByteTokenizer() } } : {};
  return analyzeDataset(await readFederatedDataset(path), { out: join(folder, "out"), ...model });
}

describe("a data set counted by hand", () => {
  test("the report has each client and all together", async () => {
    const { report, jsonPath } = await analyze(DATA);
    expect(JSON.parse(readFileSync(jsonPath, "utf8"))).toEqual(report);
    expect(report.dataset).toMatchObject({ name: "data.json", kind: "single-turn", numClients: 2, numProblems: 0 });
    expect(report.overall.samplesPerClient).toMatchObject({ mean: 2, standardDeviation: 1, min: 1, max: 3 });
    expect(report.overall.languages).toEqual([{ name: "en", count: 3 }, { name: "ru", count: 1 }]);
    // Answers of 34, 3, 24 and 3 characters.
    expect(report.overall.lengthHistograms.responseCharacters).toEqual([
      { from: 2, to: 4, count: 2 },
      { from: 4, to: 8, count: 0 },
      { from: 8, to: 16, count: 0 },
      { from: 16, to: 32, count: 1 },
      { from: 32, to: 64, count: 1 },
    ]);
    expect(Object.keys(report.overall.lengthHistograms)).toEqual(["instructionCharacters", "responseCharacters"]);
    const [anna, boris] = report.clients;
    expect(anna?.responseCharacters).toMatchObject({ count: 3, min: 3, median: 24, max: 34 });
    expect(anna?.instructionTypes).toEqual({
      isApproximate: true,
      numTyped: 3,
      verbs: [
        { verb: "write", isQuestion: false, count: 2, objects: [{ name: "letter", count: 1 }, { name: "poem", count: 1 }] },
        { verb: "what", isQuestion: true, count: 1, objects: [{ name: "capital", count: 1 }] },
      ],
    });
    // Shares of English and Russian: 3/4 and 1/4 of all, against 1 and 0, and 0 and 1.
    expect([anna?.distances?.language, boris?.distances?.language]).toEqual([0.25, 0.75]);
    expect(report.similarity).toMatchObject({ clients: [0, 1], languageDistance: [[0, 1], [1, 0]] });
    // 3 characters are 2 doublings from 0; anna's 35 and 25 with the empty answer make up the rest.
    expect(report.similarity.responseLengthDistance[0]?.[1]).toBeCloseTo((Math.log2(35) + Math.log2(25) + 2) / 3 - 2, 12);
    expect(anna).not.toHaveProperty("instructionTokens");
    expect(anna).not.toHaveProperty("preferences");
  });

  test("a tokenizer adds lengths in tokens", async () => {
    const { report } = await analyze(DATA, true);
    // One token for each byte, and a Cyrillic letter has two.
    expect(report.clients[1]?.responseTokens).toMatchObject({ mean: 6 });
    expect(report.clients[1]?.responseCharacters).toMatchObject({ mean: 3 });
    expect(report.overall.responseTokens).toMatchObject({ count: 4, min: 3, max: 34 });
  });

  test("the database has a row for each sample, client and pair, also after a second analysis", async () => {
    const folder = makeTemporaryFolder();
    const path = join(folder, "data.json");
    writeFileSync(path, JSON.stringify({ ...DATA, empty: [] }));
    const dataset = await readFederatedDataset(path);
    await analyzeDataset(dataset, { out: folder });
    const { databasePath } = await analyzeDataset(dataset, { out: folder });
    const database = new Database(databasePath, { readonly: true });
    expect(database.prepare("SELECT verb, object, response_characters, loss_alone FROM samples WHERE client_index = 0 AND sample_index = 1").get()).toEqual({
      verb: "write",
      object: "letter",
      response_characters: 3,
      loss_alone: null,
    });
    expect(database.prepare("SELECT id, num_samples, main_language, language_distance FROM clients").all()).toEqual([
      { id: "anna", num_samples: 3, main_language: "en", language_distance: 0.25 },
      { id: "boris", num_samples: 1, main_language: "ru", language_distance: 0.75 },
      { id: "empty", num_samples: 0, main_language: null, language_distance: null },
    ]);
    expect(database.prepare("SELECT left_index, right_index, language_distance FROM client_pairs").all()).toEqual([{ left_index: 0, right_index: 1, language_distance: 1 }]);
    database.close();
  });
});

describe("generated data", () => {
  async function generate(profile: SyntheticProfile, changes: SyntheticChanges): Promise<{ report: AnalysisReport; truth: Awaited<ReturnType<typeof readSyntheticTruth>> }> {
    const folder = makeTemporaryFolder();
    const written = await writeSyntheticData(join(folder, "data.json"), { profile, options: syntheticOptions(profile, changes), seed: 3 });
    const { report } = await analyzeDataset(await readFederatedDataset(written.path), { out: folder });
    return { report, truth: await readSyntheticTruth(written.truthPath) };
  }

  test("languages and lengths are the true ones", async () => {
    const { report, truth } = await generate("demo", { numClients: 16, numSamples: 480, languages: { en: 1, es: 1, ru: 1, zh: 1 }, languageMixing: 0 });
    const found = report.clients.map(({ languages }) => languages[0]?.name);
    expect(found).toEqual(truth.clients.map(({ language }) => language));
    for (const [index, client] of report.clients.entries()) {
      // A Latin text has a byte or two a letter, so these are bounds and not an equality.
      const own = truth.clients[index]?.samples ?? [];
      const tokens = own.reduce((sum, sample) => sum + sample.responseTokens, 0) / own.length;
      expect(client.numSamples).toBe(own.length);
      if (truth.clients[index]?.language === "en") expect((client.responseCharacters?.mean ?? 0) / (4 * tokens)).toBeCloseTo(1, 1);
    }
    // Clients of one language are closer than those of two.
    const { languageDistance, clients } = report.similarity;
    const entries = clients.flatMap((left) => clients.flatMap((right) => (left < right ? [{ same: found[left] === found[right], distance: languageDistance[left]?.[right] ?? 0 }] : [])));
    expect(Math.max(...entries.filter(({ same }) => same).map(({ distance }) => distance))).toBeLessThan(Math.min(...entries.filter(({ same }) => !same).map(({ distance }) => distance)));
  });

  test("users who prefer long, short, friendly and plain answers are told apart", async () => {
    const { report, truth } = await generate("fed-chatbot-pa", { numClients: 20, numSamples: 800, minSamples: 30, languages: { en: 1 }, preferenceNoise: 0.1 });
    const verdict = (index: number, property: string) => report.clients[index]?.preferences?.find((preference) => preference.property === property)?.verdict;
    for (const [index, { style }] of truth.clients.entries()) {
      if (style === "longer" || style === "shorter") expect(verdict(index, "longer")).toBe(style === "longer" ? "preferred" : "avoided");
      if (style === "friendly" || style === "plain") expect(verdict(index, "exclamation")).toBe(style === "friendly" ? "preferred" : "avoided");
    }
    expect(new Set(truth.clients.map(({ style }) => style)).size).toBe(5);
  });
});
