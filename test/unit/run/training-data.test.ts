/** Held-out sets and losses on the way, with a tokenizer of one token per byte. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";
import { isPreferencePair, sequencesOf } from "../../../src/federated/local-trainer.js";
import { loadTrainingData } from "../../../src/run/training-data.js";
import { createByteTokenizer } from "../../helpers/byte-tokenizer.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

/** The shortest template: everything but the answer is "Q…A". */
const CHAT = "{% for m in messages %}{{ ('Q' if m['role'] == 'user' else 'A') + m['content'] }}{% if m['role'] != 'user' %}{{ eos_token }}{% endif %}{% endfor %}{% if add_generation_prompt %}A{% endif %}";

const samples = (prefix: string, count: number, length = 1) =>
  Array.from({ length: count }, (_, index) => ({ instruction: `${prefix}${String(index)}`, response: "y".repeat(length) }));

async function load(files: Record<string, unknown>, ...settings: string[]) {
  const folder = makeTemporaryFolder();
  for (const [name, value] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(value));
  const overrides = ["data.train=train.json", "data.template=chat", "data.maxLength=16", ...settings].map((text) => parseSetOption(text));
  const { config } = await loadConfig({ overrides, workingFolder: folder });
  return loadTrainingData(config, createByteTokenizer({ chatTemplate: CHAT }), { countTokens: true });
}

describe("held-out samples", () => {
  test("without a file the overall set is the clients' own parts together", async () => {
    const { heldOut, clients, counts } = await load({ "train.json": { a: samples("a", 10), b: samples("b", 4) } }, "data.heldOutFraction=0.5");
    expect(clients.map(({ id, numSamples }) => [id, numSamples])).toEqual([["a", 5], ["b", 2]]);
    expect(heldOut.overall).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect([...heldOut.own]).toEqual([["a", [0, 1, 2, 3, 4]], ["b", [5, 6]]]);
    expect(counts).toMatchObject({ numClients: 2, numSamples: 7, numHeldOut: 7 });
  });

  test("with a file the overall set is the file, and clients keep a part of their own", async () => {
    const { heldOut, hashes } = await load(
      { "train.json": { a: samples("a", 10) }, "held.json": samples("h", 3) },
      "data.heldOutFile=held.json",
      "data.heldOutFraction=0.2",
    );
    expect(heldOut.overall).toEqual([0, 1, 2]);
    expect([...heldOut.own]).toEqual([["a", [3, 4]]]);
    expect(Object.keys(hashes)).toEqual(["data.train", "data.heldOut"]);
  });

  test("limits take the first samples of each client and evenly spaced ones of the overall set", async () => {
    const train = { a: samples("a", 10), b: samples("b", 10) };
    const perClient = await load({ "train.json": train }, "data.heldOutFraction=0.5", "evaluation.maxSamplesPerClient=2");
    expect([...perClient.heldOut.own.values()].map((list) => list.length)).toEqual([2, 2]);
    expect(perClient.heldOut.overall).toHaveLength(4);
    const held = { "train.json": train, "held.json": samples("h", 10) };
    const overall = await load(held, "data.heldOutFile=held.json", "evaluation.maxSamples=4");
    const sequences = sequencesOf(overall.heldOut.samples);
    const lastDigits = overall.heldOut.overall.map((position) => String.fromCharCode(sequences[position]?.tokens[3] ?? 0));
    // Tokens are BOS, Q, h and the digit; 10 samples in 4 parts begin at 0, 2.5, 5 and 7.5.
    expect(lastDigits).toEqual(["0", "3", "5", "8"]);
  });
});

describe("pairs of answers", () => {
  const pairs = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, index) => ({ prompt: `${prefix}${String(index)}`, chosen: "good", rejected: "bad" }));

  test("become clients and held-out pairs with objective dpo", async () => {
    const { clients, heldOut, counts } = await load({ "train.json": { a: pairs("a", 4), b: pairs("b", 2) } }, "training.objective=dpo", "data.template=none", "data.maxPromptLength=8", "data.heldOutFraction=0.5");
    expect(clients.map(({ id, numSamples }) => [id, numSamples])).toEqual([["a", 2], ["b", 1]]);
    expect(heldOut.overall).toEqual([0, 1, 2]);
    expect(heldOut.samples.every((example) => isPreferencePair(example))).toBe(true);
    // Two tokens of the prompt twice, "good", "bad" and two EOS, three pairs.
    expect(counts.numTokens).toBe(3 * (4 + 7 + 2));
  });

  test("are learned by their chosen answers with objective sft only when the file says so", async () => {
    const files = { "train.json": { a: pairs("a", 4) } };
    await expect(load(files)).rejects.toThrow("data.preferenceAnswer");
    const { clients } = await load(files, "data.preferenceAnswer=chosen", "data.heldOutFraction=0");
    const [sample] = sequencesOf((await clients[0]?.readSamples([0])) ?? []);
    expect(Buffer.from(sample?.tokens.slice(1, -1) ?? []).toString()).toBe("Qa0Agood");
  });

  test("are asked for by objective dpo", async () => {
    await expect(load({ "train.json": { a: samples("a", 4) } }, "training.objective=dpo", "data.maxPromptLength=8")).rejects.toThrow("training.objective");
  });
});

describe("samples that cannot be used", () => {
  test("truncated, dropped and bad ones are counted, and a client with none left does not take part", async () => {
    const train = {
      long: samples("l", 2, 40),
      hopeless: [{ instruction: "x".repeat(40), response: "y" }],
      good: [...samples("g", 3), { instruction: 5, response: "z" }],
    };
    const { clients, counts, warnings } = await load({ "train.json": train }, "data.heldOutFraction=0");
    expect(clients.map(({ id, numSamples }) => [id, numSamples])).toEqual([["long", 2], ["good", 3]]);
    expect(counts).toMatchObject({ numTruncated: 2, numDropped: 1, numBad: 1 });
    expect(warnings.join("\n")).toContain('user "good", sample 3');
    expect(warnings.join("\n")).toContain("1 clients have no usable sample: hopeless");
  });

  test("no usable sample at all is an error that names the remedy", async () => {
    const train = { a: [{ instruction: "x".repeat(40), response: "y" }] };
    await expect(load({ "train.json": train }, "data.heldOutFraction=0")).rejects.toThrow("Raise data.maxLength");
  });
});

describe("samples that nobody has asked for", () => {
  const sizes = [...Array.from({ length: 40 }, (_, index) => index + 1), 60];
  const train = {
    short: samples("s", 3),
    mixed: sizes.flatMap((length) => samples("m", 1, length)),
    odd: [{ instruction: "x".repeat(60), response: "y" }, { instruction: "ü b", response: " " }, { instruction: "a b c d e", response: "y z" }],
  };

  async function loadBoth() {
    const folder = makeTemporaryFolder();
    writeFileSync(join(folder, "train.json"), JSON.stringify(train));
    const overrides = ["data.train=train.json", "data.template=chat", "data.maxLength=40", "data.heldOutFraction=0"].map((text) => parseSetOption(text));
    const { config } = await loadConfig({ overrides, workingFolder: folder });
    const texts: string[] = [];
    const inner = createByteTokenizer({ chatTemplate: CHAT });
    const noting = {
      ...inner,
      tokenize: (text: string, special: boolean) => {
        texts.push(text);
        return inner.tokenize(text, special);
      },
    };
    return { eager: await loadTrainingData(config, inner, { countTokens: true }), lazy: await loadTrainingData(config, noting), texts };
  }

  test("are not tokenized when they are certain to fit, and counts, samples and warnings are those of tokenizing all", async () => {
    const { eager, lazy, texts } = await loadBoth();
    expect(texts.some((text) => text.includes("s1"))).toBe(false);
    const { numTokens, ...counts } = eager.counts;
    expect(lazy.counts).toEqual(counts);
    expect(numTokens).toBeGreaterThan(0);
    expect(counts.numTruncated).toBeGreaterThan(0);
    expect(counts.numDropped).toBeGreaterThan(0);
    expect(lazy.warnings).toEqual(eager.warnings);
    expect(lazy.clients.map(({ id, numSamples }) => [id, numSamples])).toEqual(eager.clients.map(({ id, numSamples }) => [id, numSamples]));
    for (const [index, client] of lazy.clients.entries()) {
      const all = Array.from({ length: client.numSamples }, (_, position) => position);
      expect(await client.readSamples(all)).toEqual(await eager.clients[index]?.readSamples(all));
    }
    expect(texts.some((text) => text.includes("s1"))).toBe(true);
  });

  test("are tokenized once, when they are asked for", async () => {
    const { lazy, texts } = await loadBoth();
    const before = texts.length;
    const [first] = lazy.clients;
    const [sample] = (await first?.readSamples([1])) ?? [];
    const once = texts.length;
    expect(once).toBeGreaterThan(before);
    expect((await first?.readSamples([1]))?.[0]).toBe(sample);
    expect(texts).toHaveLength(once);
  });
});

describe("clients that the configuration names", () => {
  const files = { "train.json": { a: samples("a", 4), b: samples("b", 4) } };

  test("must take part where an arm trains them only", async () => {
    await expect(load(files, "training.fixedClients=[a, c]")).rejects.toMatchObject({
      code: "CONFIG_INVALID",
      message: expect.stringContaining('training.fixedClients of arm source-fedavg: expected ids of clients that take part, received "c"') as unknown,
    });
    expect((await load(files, "training.fixedClients=[b, a]")).warnings).toEqual([]);
  });

  test("are a warning where ranks or devices are named for more", async () => {
    const profiles = "federation.devices={profiles: {laptop: {tokensPerSecond: 100}}, clients: {b: laptop, zoe: laptop}}";
    const { warnings } = await load(files, "arms=[{strategy: flora, strategyOptions: {clientRanks: {a: 2, c: 4}}}]", profiles);
    expect(warnings).toEqual([
      "strategyOptions.clientRanks of arm source-flora names clients that do not take part: c",
      "federation.devices.clients of arm source-flora names clients that do not take part: zoe",
    ]);
  });
});
