/** Published files, where they are present, through the analysis of their texts: its figures are those that one counts in the files themselves. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { analyzeDataset } from "../../../src/analysis/analyze.js";
import { readFederatedDataset } from "../../../src/data/dataset.js";
import { parseFieldMap } from "../../../src/data/import/field-map.js";
import { importData } from "../../../src/data/import/import.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const SHARED = resolve(import.meta.dirname, "../../../../shared/data");
const AYA = join(SHARED, "fedllm-bench/aya_evaluation__test_datasets.json");
const ADVBENCH = join(SHARED, "fedllm-bench/advbench__advbench.csv");
const PAIRS = join(SHARED, "preference/hh-rlhf_harmless-base_test.jsonl.gz");
const PLAYS = join(SHARED, "text/tinyshakespeare.txt");
const isMissing = [AYA, ADVBENCH, PAIRS, PLAYS].some((path) => !existsSync(path));
if (isMissing) console.log(`skipped: published files are absent in ${SHARED}`);

const analyze = async (path: string) => (await analyzeDataset(await readFederatedDataset(path), { out: makeTemporaryFolder() })).report;

async function analyzeImported(file: string, map: readonly string[] = []) {
  const out = join(makeTemporaryFolder(), "clients.json");
  await importData({ files: [file], map: parseFieldMap(map), keep: [], out });
  return analyze(out);
}

const characters = (text: string) => Array.from(text).length;
const mean = (numbers: readonly number[]) => numbers.reduce((sum, value) => sum + value, 0) / numbers.length;

describe.skipIf(isMissing)("published files", () => {
  test("the clients of Fed-Aya's test set speak the languages they are named after, and their lengths are those in the file", async () => {
    const report = await analyze(AYA);
    const known = JSON.parse(readFileSync(AYA, "utf8")) as Record<string, { instruction: string; reference: string }[]>;
    expect(report.dataset).toMatchObject({ kind: "single-turn", numClients: 8, numProblems: 0 });
    expect(report.overall.numSamples).toBe(160);
    const mainLanguages = Object.fromEntries(report.clients.map(({ id, languages }) => [id, languages[0]?.name]));
    expect(mainLanguages).toEqual({
      ...{ Standard_Arabic: "ar", English: "en", Simplified_Chinese: "zh", Portuguese: "pt" },
      ...{ Telugu: "te", Russian: "ru", French: "fr", Spanish: "es" },
    });
    for (const client of report.clients) {
      const own = known[client.id] ?? [];
      expect(client.numSamples).toBe(own.length);
      expect(client.instructionCharacters?.mean).toBeCloseTo(mean(own.map(({ instruction }) => characters(instruction))), 9);
      expect(client.responseCharacters?.mean).toBeCloseTo(mean(own.map(({ reference }) => characters(reference))), 9);
    }
    // Chinese and Telugu have scripts of their own, so that no text of another client is taken for one of them: 1 - 20/160.
    for (const id of ["Simplified_Chinese", "Telugu"]) expect(report.clients.find((client) => client.id === id)?.distances?.language).toBeCloseTo(7 / 8, 9);
  });

  test("the goals of AdvBench are orders, most often to write", async () => {
    const { overall } = await analyzeImported(ADVBENCH, ["instruction=goal", "response=target"]);
    const lines = readFileSync(ADVBENCH, "utf8").trim().split(/\r?\n/).slice(1);
    const numWrite = lines.filter((line) => /^"?write\b/iu.test(line)).length;
    expect(overall.numSamples).toBe(lines.length);
    expect(overall.instructionTypes.verbs[0]).toMatchObject({ verb: "write", isQuestion: false, count: numWrite });
    expect(overall.languages[0]).toMatchObject({ name: "en" });
  });

  test("which answers of hh-rlhf are preferred is what the last turns of the transcripts say: the shorter ones, without exclamation", async () => {
    const report = await analyzeImported(PAIRS);
    const answerOf = (transcript: string) => transcript.slice(transcript.lastIndexOf("\n\nAssistant:") + "\n\nAssistant:".length).trim();
    const alternates = (transcript: string) => {
      const speakers = [...transcript.matchAll(/\n\n(Human|Assistant):/gu)].map(([, speaker]) => speaker);
      return speakers.every((speaker, index) => speaker === (index % 2 === 0 ? "Human" : "Assistant"));
    };
    const pairs = gunzipSync(readFileSync(PAIRS))
      .toString("utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { chosen: string; rejected: string })
      // Where someone speaks twice in a row, or answers nothing, the import leaves the pair out.
      .filter((pair) => alternates(pair.chosen) && alternates(pair.rejected))
      .map((pair) => ({ chosen: answerOf(pair.chosen), rejected: answerOf(pair.rejected) }))
      .filter(({ chosen, rejected }) => chosen !== "" && rejected !== "");
    expect(report.overall.numSamples).toBe(pairs.length);
    const longer = pairs.filter(({ chosen, rejected }) => characters(chosen) !== characters(rejected));
    const excited = pairs.filter(({ chosen, rejected }) => chosen.includes("!") !== rejected.includes("!"));
    const [byLength, , , , byExclamation] = report.overall.preferences ?? [];
    const numLonger = longer.filter(({ chosen, rejected }) => characters(chosen) > characters(rejected)).length;
    expect(byLength).toMatchObject({ property: "longer", numPairs: longer.length, numChosen: numLonger, verdict: "avoided" });
    const numExcited = excited.filter(({ chosen }) => chosen.includes("!")).length;
    expect(byExclamation).toMatchObject({ property: "exclamation", numPairs: excited.length, numChosen: numExcited, verdict: "avoided" });
    expect(report.overall.languages[0]).toMatchObject({ name: "en" });
  });

  test("the plays are English, and the distances are of the 100 speakers with most speeches", async () => {
    const { dataset, overall, clients, similarity } = await analyzeImported(PLAYS);
    expect(dataset.numClients).toBe(299);
    expect(overall.samplesPerClient).toMatchObject({ count: 299, min: 1 });
    expect(clients.reduce((sum, { numSamples }) => sum + numSamples, 0)).toBe(overall.numSamples);
    // Guesses on half a line are often wrong: some other language is seen now and then, but never much of one.
    expect(overall.languages[0]?.name).toBe("en");
    expect((overall.languages[0]?.count ?? 0) / overall.numSamples).toBeGreaterThan(0.9);
    const sizes = clients.map(({ numSamples }) => numSamples).sort((left, right) => right - left);
    expect(similarity.clients).toHaveLength(100);
    expect(similarity.clients.map((index) => clients[index]?.numSamples ?? 0).sort((left, right) => right - left)).toEqual(sizes.slice(0, 100));
    // The speaker of most speeches has as many as the file has paragraphs under that name, but for those that answer nothing.
    const [most] = clients.filter(({ numSamples }) => numSamples === sizes[0]);
    const numParagraphs = readFileSync(PLAYS, "utf8").split(/\n\n+/).filter((text) => text.startsWith(`${most?.id ?? ""}:\n`)).length;
    expect(most?.numSamples).toBe(numParagraphs);
  });
});
