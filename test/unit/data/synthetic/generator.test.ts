/**
 * Goal: synthetic data has the published statistics, its answers follow from its questions, its languages are told by an independent
 * detector, and what its truth says is so. Statistics are taken from the texts by the same functions that describe any data set.
 */
import { detect } from "tinyld";
import { describe, expect, it, test } from "vitest";
import { parseDatasetText } from "../../../../src/data/dataset.js";
import { describeNumbers } from "../../../../src/data/statistics.js";
import { generateClients } from "../../../../src/data/synthetic/generator.js";
import type { SyntheticClient } from "../../../../src/data/synthetic/generator.js";
import { SYNTHETIC_LANGUAGES, lexiconOf } from "../../../../src/data/synthetic/lexicon.js";
import { BYTES_PER_TOKEN, SYNTHETIC_PROFILES, syntheticOptions } from "../../../../src/data/synthetic/profiles.js";
import type { SyntheticProfile } from "../../../../src/data/synthetic/profiles.js";
import { syntheticText } from "../../../../src/data/synthetic/write.js";
import { joinSentences } from "../../../../src/data/synthetic/tasks.js";

const SEED = 1;
const known = new Map<string, readonly SyntheticClient[]>();

/** Seconds of the processor that each profile took. */
const spent = new Map<string, number>();

function clientsOf(profile: SyntheticProfile): readonly SyntheticClient[] {
  const earlier = known.get(profile);
  if (earlier !== undefined) return earlier;
  const before = process.cpuUsage();
  const clients = [...generateClients(syntheticOptions(profile), SEED)];
  const { user, system } = process.cpuUsage(before);
  spent.set(profile, (user + system) / 1e6);
  known.set(profile, clients);
  return clients;
}

const tokens = (text: unknown) => Buffer.byteLength(String(text)) / BYTES_PER_TOKEN;

/** Table 1 of FedLLM-Bench, typed from the paper and not from the profiles. */
const TABLE_1 = [
  ["fed-aya", 38, 25_513, [671, 815], [116, 199], [225, 411]],
  ["fed-chatbot-it", 237, 6166, [26, 33], [68, 119], [211, 176]],
  ["fed-wildchat", 100, 52_703, [527, 477], [331, 435], [506, 470]],
  ["fed-chatbot-pa", 747, 9508, [13, 21], [69, 124], [218, 178]],
] as const;

/** Whole data sets of 50,000 samples; seconds on an idle machine. */
const WHOLE_TIMEOUT_MS = 120_000;

describe("published statistics", { timeout: WHOLE_TIMEOUT_MS }, () => {
  test.each(TABLE_1)("%s has the clients, samples, sizes and lengths of the table within 5 %%", (profile, numClients, numSamples, size, instruction, response) => {
    const clients = clientsOf(profile);
    const records = clients.flatMap(({ samples }) => samples.map(({ record }) => record));
    expect([clients.length, records.length]).toEqual([numClients, numSamples]);
    const measured = [
      [clients.map(({ samples }) => samples.length), size],
      [records.map((record) => tokens(record["instruction"] ?? record["prompt"])), instruction],
      [records.map((record) => tokens(record["response"] ?? record["chosen"])), response],
    ] as const;
    for (const [numbers, [mean, deviation]] of measured) {
      const described = describeNumbers(numbers);
      expect(Math.abs((described?.mean ?? 0) / mean - 1)).toBeLessThan(0.05);
      expect(Math.abs((described?.standardDeviation ?? 0) / deviation - 1)).toBeLessThan(0.05);
    }
    expect(Math.min(...clients.map(({ samples }) => samples.length))).toBeGreaterThanOrEqual(SYNTHETIC_PROFILES[profile].minSamples);
  });

  it("makes 50,000 samples of 3 kB in seconds of one processor", () => {
    clientsOf("fed-wildchat");
    // About 3 s on the server cores this was written on; the rest is for slower ones.
    expect(spent.get("fed-wildchat")).toBeLessThan(20);
  });

  it("gives the multi-turn variant its clients and conversations, with turns that alternate", () => {
    const clients = clientsOf("fed-wildchat-multi");
    expect([clients.length, clients.reduce((sum, { samples }) => sum + samples.length, 0)]).toEqual([50, 15_406]);
    const turns = clients.flatMap(({ samples }) => samples.map(({ record }) => (record["conversations"] as unknown[]).length / 2));
    // The mean of 15,406 geometric draws of mean 3 is off by 0.02 (one standard deviation).
    expect(Math.abs((describeNumbers(turns)?.mean ?? 0) - 3)).toBeLessThan(0.1);
  });

  it("keeps the mean size when only the number of clients changes, and refuses what cannot be", () => {
    const sizes = [...generateClients(syntheticOptions("fed-chatbot-it", { numClients: 20 }), 5)].map(({ samples }) => samples.length);
    expect(sizes).toHaveLength(20);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(Math.round((6166 / 237) * 20));
    expect(() => syntheticOptions("fed-aya", { numSamples: 100, minSamples: 100 })).toThrow(/numSamples: expected at least 3800/u);
    expect(() => syntheticOptions("fed-aya", { languages: {} })).toThrow(/languages/u);
    // Without a number for the least size it gives way.
    expect(syntheticOptions("fed-aya", { numClients: 4, numSamples: 20 }).minSamples).toBe(5);
  });
});

describe("determinism", () => {
  const text = (seed: number) => Buffer.concat([...syntheticText({ profile: "demo", options: syntheticOptions("demo"), seed })]).toString();

  it("makes the same bytes from the same seed and others from another, 0 included", () => {
    expect(text(0)).toBe(text(0));
    expect(new Set([text(0), text(1), text(2)]).size).toBe(3);
  });

  it("makes files that are read without a problem, in order", async () => {
    for (const profile of ["demo", "fed-chatbot-pa"] as const) {
      const options = syntheticOptions(profile, { numClients: 12 });
      const read = await parseDatasetText(syntheticText({ profile, options, seed: 3 }), "a.json");
      // A user may ask the same and get the same two answers again; such pairs count once.
      expect(read.problems.filter(({ reason }) => !reason.includes("the same pair"))).toEqual([]);
      expect(read.clients.map(({ id }) => id)).toEqual([...generateClients(options, 3)].map(({ truth }) => truth.id));
    }
  });
});

describe("truth", { timeout: WHOLE_TIMEOUT_MS }, () => {
  it("names the answer, and only a good one is about it", () => {
    const samples = clientsOf("fed-chatbot-it").flatMap((client) => client.samples);
    const first = (record: Readonly<Record<string, unknown>>, answer: string) => String(record["response"]).split(/(?<=[.。])/u)[0]?.includes(answer) === true;
    const byQuality = (quality: string) => samples.filter(({ truth }) => truth.quality === quality);
    expect(byQuality("good").every(({ record, truth }) => first(record, truth.answer))).toBe(true);
    // A wrong sum may hold the digits of the right one, and a sum of 7 is also found in 17.
    expect(byQuality("wrong").filter(({ record, truth }) => first(record, truth.answer)).length).toBeLessThan(byQuality("wrong").length * 0.1);
    expect(byQuality("unrelated").length).toBeGreaterThan(0);
    // 10 % of 6166 with clients from 0 to 20 %: the mean over clients of unequal size varies by about half a percent.
    expect(Math.abs(1 - byQuality("good").length / samples.length - 0.1)).toBeLessThan(0.02);
  });

  it("answers follow from the questions: sums are right, and what is asked for stands in the text", () => {
    const samples = [...generateClients(syntheticOptions("fed-chatbot-it", { languages: { en: 1 }, qualityNoise: 0, numClients: 60 }), 4)].flatMap((client) => client.samples);
    const counts = { sum: 0, fact: 0 };
    for (const { record } of samples) {
      const [instruction, response] = [String(record["instruction"]), String(record["response"])];
      const sum = /Add the numbers (\d+) and (\d+)\./u.exec(instruction);
      if (sum !== null) {
        counts.sum++;
        expect(response.startsWith(`The sum of ${sum[1] ?? ""} and ${sum[2] ?? ""} is ${String(Number(sum[1]) + Number(sum[2]))}.`)).toBe(true);
      }
      const asked = /(Day \d+: )?Name the (?:place|food|time) (?:where|that|when) (the \w+) /u.exec(instruction);
      if (asked !== null) {
        counts.fact++;
        const [statement = ""] = response.split(/(?<=\.) /u);
        const day = asked[1] ?? "";
        const told = day === "" ? instruction : instruction.slice(instruction.indexOf(day), instruction.lastIndexOf(day));
        expect(told).toContain(statement);
        expect(statement.toLowerCase()).toContain(asked[2]);
      }
      const wanted = /Sentences in the answer: (\d+)\./u.exec(instruction);
      expect(response.split(/(?<=\.) /u)).toHaveLength(Number(wanted?.[1] ?? 1));
    }
    expect(counts.sum).toBeGreaterThan(100);
    expect(counts.fact).toBeGreaterThan(100);
  });

  it("has pairs whose chosen answer is what the user prefers, unless they are swapped", () => {
    const clients = clientsOf("fed-chatbot-pa");
    let numSwapped = 0;
    for (const { truth: client, samples } of clients) {
      for (const { record, truth } of samples) {
        expect(truth.style).toBe(client.style);
        if (truth.isSwapped === true) numSwapped++;
        const [chosen, rejected] = [String(record["chosen"]), String(record["rejected"])];
        expect(chosen).not.toBe(rejected);
        const [better, worse] = truth.isSwapped === true ? [rejected, chosen] : [chosen, rejected];
        const { friendly } = lexiconOf(truth.language);
        if (truth.style === "longer") expect(better.length).toBeGreaterThan(worse.length);
        if (truth.style === "shorter") expect(better.length).toBeLessThan(worse.length);
        if (truth.style === "friendly") expect(better).toBe(joinSentences(truth.language, [friendly, worse]));
        if (truth.style === "plain") expect(worse).toBe(joinSentences(truth.language, [friendly, better]));
        if (truth.style === "right") expect(better).toContain(truth.answer);
      }
    }
    // 5 % of 9508: one standard deviation is 0.2 %.
    expect(Math.abs(numSwapped / 9508 - 0.05)).toBeLessThan(0.01);
    expect(new Set(clients.map(({ truth }) => truth.style))).toEqual(new Set(SYNTHETIC_PROFILES["fed-chatbot-pa"].styles));
  });

  it("has clients of one language and task most of the time, dealt out as asked", () => {
    const clients = clientsOf("fed-aya");
    expect(new Set(clients.map(({ truth }) => truth.language)).size).toBe(8);
    for (const { truth, samples } of clients) {
      const own = samples.filter((sample) => sample.truth.language === truth.language).length;
      expect(own / samples.length).toBeGreaterThan(0.9);
    }
  });

  test.each(SYNTHETIC_LANGUAGES)("a language detector agrees on %s", (language) => {
    const options = syntheticOptions("fed-chatbot-it", { languages: { [language]: 1 }, numClients: 10, languageMixing: 0 });
    const texts = [...generateClients(options, 6)].flatMap((client) => client.samples.map(({ record }) => `${String(record["instruction"])} ${String(record["response"])}`));
    const agreed = texts.filter((text) => detect(text) === language).length;
    expect(agreed / texts.length).toBeGreaterThan(0.97);
  });
});

it("gives lengths that clients share in part, as asked", () => {
  const spreadOfMeans = (lengthSkew: number) => {
    const options = syntheticOptions("fed-wildchat", { numClients: 40, numSamples: 4000, minSamples: 100, lengthSkew });
    const means = [...generateClients(options, 8)].map(({ samples }) => describeNumbers(samples.map(({ truth }) => Math.log(truth.responseTokens)))?.mean ?? 0);
    return describeNumbers(means)?.standardDeviation ?? 0;
  };
  // Of the logarithm's deviation of 0.8, sqrt(0.5) is between clients; without a skew only the error of a mean of 100.
  expect(spreadOfMeans(0.5)).toBeGreaterThan(0.4);
  expect(spreadOfMeans(0)).toBeLessThan(0.15);
});
