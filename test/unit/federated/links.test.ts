/** Federations whose adapter travels in messages: what counts is what was decoded, what was left out comes later, and nothing is lost at a stop. */
import { describe, expect, test } from "vitest";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fingerprintLayout } from "../../../src/adapter/layout.js";
import { addUpdate } from "../../../src/adapter/weights.js";
import { freshStart, makeClient, makeDeps, makeOptions, NUM_PARAMETERS } from "../../../src/contract/federation.js";
import { pointSample, QuadraticTrainer } from "../../../src/contract/quadratic-trainer.js";
import { robustnessTests } from "../../../src/contract/robustness.js";
import { encodeAnswer, openAnswer, replaceAnswer } from "../../../src/federated/answer-message.js";
import { CheckpointFolder } from "../../../src/federated/checkpoint.js";
import { joinClientState, splitClientState, type Residuals } from "../../../src/federated/feedback.js";
import { checkLinks, withLinks, type Links } from "../../../src/federated/links.js";
import type { ClientUpdate, NamedState, TrainTask } from "../../../src/federated/protocol.js";
import { runServer } from "../../../src/federated/server.js";
import { createStrategy, STRATEGY_NAMES } from "../../../src/federated/strategies/registry.js";
import type { DownlinkFormat, UplinkFormat } from "../../../src/wire/formats.js";
import { decodeMessage } from "../../../src/wire/message.js";
import { createWordStream } from "../../../src/util/random.js";
import { makeUpdate } from "../../helpers/client-update.js";
import { initialAdapter, loraContext, loraLayout, SIZES } from "../../helpers/lora-round.js";

const up = (rest: Partial<UplinkFormat> = {}): UplinkFormat => ({ encoding: "f32", errorFeedback: false, maxNorm: 1e6, ...rest });
const down = (rest: Partial<DownlinkFormat> = {}): DownlinkFormat => ({ encoding: "f32", delta: false, ...rest });
const layout = { layout: loraLayout, layoutFingerprint: fingerprintLayout(loraLayout) };
const members = [...SIZES].map(([clientId, numExamples]) => ({ clientId, numExamples }));

const task = (uplink?: UplinkFormat): TrainTask => ({
  clientId: "ana",
  numExamples: 1,
  round: 1,
  weights: initialAdapter(),
  localSteps: 1,
  batchSize: 1,
  clientLearningRate: 0.1,
  numSamples: 1,
  sampleSeed: 0,
  ...(uplink === undefined ? {} : { uplink }),
});

describe("error feedback", () => {
  const FORMATS = [
    up({ topK: 0.05, errorFeedback: true }),
    up({ encoding: "f16", errorFeedback: true }),
    up({ encoding: "bf16", errorFeedback: true }),
    up({ encoding: "q8_0", errorFeedback: true }),
    up({ encoding: "q4_0", errorFeedback: true }),
    up({ encoding: "q4_0", topK: 0.3, errorFeedback: true }),
  ];

  test.each(FORMATS)("$encoding, part $topK: what was sent in all rounds is the sum of the updates minus what is left, to the last bit", (uplink) => {
    const next = createWordStream(4);
    const numValues = loraLayout.numParameters;
    const [sumOfSent, sumOfTrue] = [new Float64Array(numValues), new Float64Array(numValues)];
    let residuals: Residuals = {};
    for (let round = 0; round < 40; round++) {
      // Multiples of 2^-12 below 1: sums of so few are exact in single precision, so nothing but the encoding is inexact.
      const change = Float32Array.from({ length: numValues }, () => ((next() % 8191) - 4095) / 4096);
      const answer = encodeAnswer(change, undefined, task(uplink), uplink, { ...layout, residuals });
      residuals = answer.residuals;
      for (const [index, value] of answer.update.entries()) sumOfSent[index] = (sumOfSent[index] ?? 0) + value;
      for (const [index, value] of change.entries()) sumOfTrue[index] = (sumOfTrue[index] ?? 0) + value;
      if (uplink.encoding === "f32") expect(sumOfSent.map((sent, index) => sent + (residuals["both"]?.[index] ?? 0))).toEqual(sumOfTrue);
    }
    // Steps of an encoding are not multiples of 2^-12, so here each round's addition rounds: 2^-24 of at most 8.
    const off = sumOfSent.map((sent, index) => Math.abs(sent + (residuals["both"]?.[index] ?? 0) - (sumOfTrue[index] ?? 0)));
    expect(Math.max(...off)).toBeLessThanOrEqual(40 * 8 * 2 ** -24);
  });

  test.each(FORMATS)("$encoding, part $topK: in each round corrected = sent + residual exactly, for numbers of all sizes", (uplink) => {
    const next = createWordStream(8);
    for (let round = 0; round < 50; round++) {
      const change = Float32Array.from({ length: loraLayout.numParameters }, () => ((next() % 2 ** 24) - 2 ** 23) * 2 ** ((next() % 40) - 60));
      const { update, residuals } = encodeAnswer(change, undefined, task(uplink), uplink, { ...layout, residuals: {} });
      const residual = residuals["both"] ?? new Float32Array(0);
      for (const [index, value] of change.entries()) if ((update[index] ?? 0) + (residual[index] ?? 0) !== value) expect.fail(`${String(value)} at ${String(index)}`);
    }
  });

  test("what is left of one half of the pairs waits for that half", () => {
    const uplink = up({ topK: 0.2, errorFeedback: true });
    const [a, b] = [{ half: "a" as const }, { half: "b" as const }];
    const numbers = (count: number) => Float32Array.from({ length: count }, (_, index) => index + 1);
    const first = encodeAnswer(numbers(69), a, task(uplink), uplink, { ...layout, residuals: {} });
    const second = encodeAnswer(numbers(60), b, task(uplink), uplink, { ...layout, residuals: first.residuals });
    expect(Object.keys(second.residuals)).toEqual(["a", "b"]);
    expect(second.residuals["a"]).toBe(first.residuals["a"]);
    const third = encodeAnswer(new Float32Array(69), a, task(uplink), uplink, { ...layout, residuals: second.residuals });
    expect(third.update.some((value) => value !== 0)).toBe(true);
  });

  test("the client's own state stays the strategy's, and there is none where it has none", () => {
    const residuals = { both: Float32Array.of(1) };
    const own: NamedState = { arrays: { b: Float32Array.of(2) }, numbers: { n: 3 } };
    expect(splitClientState(joinClientState(own, residuals))).toEqual({ own, residuals });
    expect(splitClientState(joinClientState(undefined, residuals))).toEqual({ residuals });
    expect(splitClientState(own)).toEqual({ own, residuals: {} });
    expect(joinClientState(own, {})).toBe(own);
    expect(splitClientState(undefined)).toEqual({ residuals: {} });
  });
});

describe("the server", () => {
  const uplink = up({ encoding: "q8_0", maxNorm: 10 });
  const change = Float32Array.from({ length: loraLayout.numParameters }, (_, index) => (index % 5) / 8);
  const answerOf = (message: Uint8Array | undefined): ClientUpdate => ({ ...makeUpdate("ana", 1, change), layoutFingerprint: layout.layoutFingerprint, ...(message === undefined ? {} : { message }) });
  const { message, update } = encodeAnswer(change, undefined, task(uplink), uplink, { ...layout, residuals: {} });
  const open = (bytes: Uint8Array | undefined, asked: TrainTask = task(uplink)) => {
    const opened = openAnswer(answerOf(bytes), asked, layout);
    return opened.kind === "failure" ? opened.failure : opened.update.update;
  };

  test("believes what the message says and nothing beside it", () => {
    expect(open(message)).toEqual(update);
    expect(update).not.toEqual(change);
  });

  test("refuses what is damaged, missing, of another round, too large, or not asked for, and says why", () => {
    const spoilt = Buffer.from(message);
    spoilt[spoilt.length - 1] = (spoilt.at(-1) ?? 0) ^ 1;
    const cases = [
      [open(spoilt), /MESSAGE_CORRUPT/u],
      [open(undefined), /MESSAGE_MISMATCH: answer: expected a message, received none/u],
      [open(message, { ...task(uplink), round: 2 }), /MESSAGE_MISMATCH: message: expected round 2, received 1/u],
      [open(message, task(up({ encoding: "q8_0", maxNorm: 0.1 }))), /MESSAGE_REFUSED/u],
      [open(message, task()), /MESSAGE_MISMATCH/u],
    ] as const;
    for (const [failure, pattern] of cases) expect(failure).toMatchObject({ clientId: "ana", code: "UPDATE_REJECTED", message: expect.stringMatching(pattern) as string });
  });

  test("an answer can be given other numbers, which are encoded like its own", () => {
    const other = change.map((value) => -2 * value);
    const replaced = replaceAnswer(answerOf(message), other, task(uplink), layout);
    expect(open(replaced.message)).toEqual(replaced.update);
    expect(replaced.message).toHaveLength(message.length);
    expect(replaceAnswer(answerOf(undefined), other, task(), layout).update).toBe(other);
  });

  test("a client whose training went wrong fails with the reason", () => {
    expect(() => encodeAnswer(change.map(() => Number.NaN), undefined, task(uplink), uplink, { ...layout, residuals: {} })).toThrow(/finite/u);
  });
});

/** All rounds of a small federation; the trainer's layout has one pair-less vector, so messages are of the whole. */
async function run(links: Links, strategy = "fedavg", plan = {}, rest = {}) {
  const deps = makeDeps(withLinks(createStrategy(strategy), links, 5), rest);
  return { result: await runServer(makeOptions(plan), deps, freshStart()), deps };
}

describe("rounds", () => {
  test("without a format nothing changes, and single precision in messages gives the same bits", async () => {
    const plain = createStrategy("fedavg");
    expect(withLinks(plain, {})).toBe(plain);
    const reference = await run({});
    const sent = await run({ uplink: up(), downlink: down() });
    expect(sent.result.adapters).toEqual(reference.result.adapters);
    const [first] = sent.deps.metrics.records;
    const numClients = first?.clients.length ?? 0;
    expect([first?.uploadBytes, first?.downloadBytes]).toEqual([numClients * (112 + 4 * NUM_PARAMETERS), numClients * (112 + 4 * NUM_PARAMETERS)]);
  });

  test("differences give the weights that whole ones give, to the rounding of a sum, where nothing is left out", async () => {
    const everybody = { clientsPerRound: 6 };
    const reference = await run({}, "fedavg", everybody);
    const sent = await run({ downlink: down({ encoding: "f32", delta: true }) }, "fedavg", everybody);
    const [expected, actual] = [reference.result.adapters, sent.result.adapters];
    if (expected.kind !== "global" || actual.kind !== "global") throw new Error("a global adapter");
    // w = had + (w - had) rounds once in each round.
    for (const [index, value] of expected.weights.entries()) expect(actual.weights[index]).toBeCloseTo(value, 5);
  });

  test("a client's weights are the last it had and the difference, others get the same whole; who was away is sent it again", () => {
    const strategy = withLinks(createStrategy("fedavg"), { downlink: down({ encoding: "q4_0", delta: true }) });
    const [ana, ben] = members;
    if (ana === undefined || ben === undefined) throw new Error("two members");
    let state = strategy.init(initialAdapter(1));
    let had = initialAdapter(1);
    for (const [index, cohort] of [[ana, ben], [ana], [ana, ben], [ana, ben]].entries()) {
      const context = loraContext(index + 1);
      const tasks = strategy.configure(state, cohort, context);
      for (const { clientId, weights, message = new Uint8Array(0), downlink = down() } of tasks) {
        const isBack = clientId === "ben" && index === 2;
        const received = decodeMessage(message, { kind: "weights", round: context.round, ...layout, format: downlink, isDelta: downlink.delta }, 1e9).values;
        expect([downlink.delta, downlink.encoding]).toEqual(isBack ? [false, "f32"] : [true, "q4_0"]);
        expect(weights).toEqual(isBack ? received : addUpdate(had, received));
        expect(weights).toEqual(tasks[0]?.weights);
      }
      had = tasks[0]?.weights ?? had;
      const updates = cohort.map(({ clientId, numExamples }, k) => ({ ...makeUpdate(clientId, numExamples, initialAdapter(10 * index + k)), round: context.round }));
      state = strategy.aggregate(state, updates, context);
    }
    // What was left out of one difference is in the next: the weights stay near the server's own.
    const own = state.arrays["adapter"] ?? new Float32Array(0);
    const last = strategy.configure(state, members.slice(0, 2), loraContext(5))[0]?.weights ?? new Float32Array(0);
    const error = Math.max(...last.map((value, index) => Math.abs(value - (own[index] ?? 0))));
    expect(error).toBeLessThan(0.2 * Math.max(...own.map(Math.abs)));
  });

  test("FFA-LoRA's clients make A from the eight bytes of its seed, with the bits of a run that hands it over", async () => {
    const trainer = new QuadraticTrainer(NUM_PARAMETERS);
    const strategy = withLinks(createStrategy("ffa-lora"), { uplink: up(), downlink: down() }, 0);
    const [first] = strategy.configure(strategy.init(initialAdapter()), members, loraContext());
    expect(first?.initialSeed).toBe(0);
    const context = { kind: "weights" as const, round: 1, ...layout, slice: { half: "b" as const }, format: down() };
    expect(decodeMessage(first?.message ?? new Uint8Array(0), context, 1e9).seed).toBe(0);
    const start = { kind: "weights", weights: trainer.initialWeights(5) } as const;
    const deps = () => makeDeps(createStrategy("ffa-lora"));
    const expected = await runServer(makeOptions(), deps(), start);
    const seeded = await runServer(makeOptions(), { ...deps(), strategy: withLinks(createStrategy("ffa-lora"), { downlink: down() }, 5) }, start);
    expect(seeded.adapters).toEqual(expected.adapters);
  });

  test("interrupted after any round and resumed from files it ends with the same bits, residuals and differences included", async () => {
    const links: Links = { uplink: up({ topK: 0.34, errorFeedback: true }), downlink: down({ encoding: "q8_0", delta: true }) };
    for (const name of ["fedavg", "ditto", "rolora"]) {
      const plan = { numRounds: 5, clientsPerRound: 4 };
      const reference = await run(links, name, plan);
      for (let round = 1; round < 5; round++) {
        const folder = new CheckpointFolder(mkdtempSync(join(tmpdir(), "links-")), { configFingerprint: "c", layoutFingerprint: "l" });
        await run(links, name, { ...plan, numRounds: 5 }, { checkpoints: folder, signal: undefined, afterRound: (done: number) => (done === round ? Promise.reject(new Error("stop")) : Promise.resolve()) }).catch((error: unknown) => {
          if (!(error instanceof Error) || error.message !== "stop") throw error;
        });
        const loaded = await folder.load();
        if (loaded === undefined) throw new Error("a checkpoint");
        const deps = makeDeps(withLinks(createStrategy(name), links, 5));
        const resumed = await runServer(makeOptions(plan), deps, { kind: "snapshot", snapshot: loaded.snapshot });
        expect(resumed.adapters).toEqual(reference.result.adapters);
      }
    }
  });

  test("with feedback all numbers get where they belong, although one of three travels at a time", async () => {
    const clients = [makeClient("client-0", [pointSample(10, 1, 0.5)])];
    const plan = { numRounds: 60, clientsPerRound: 1, initialLearningRate: 0.3, finalLearningRate: 0.3 };
    const { result } = await run({ uplink: up({ topK: 0.3, errorFeedback: true }) }, "fedavg", plan, { clients });
    if (result.adapters.kind !== "global") throw new Error("a global adapter");
    const { weights } = result.adapters;
    expect(weights[0]).toBeCloseTo(10, 1);
    expect(weights[1]).toBeCloseTo(1, 1);
    expect(weights[2]).toBeCloseTo(0.5, 1);
  });

  test("answers above the norm bound are refused, each with the reason", async () => {
    const links = { uplink: up({ topK: 0.34, errorFeedback: true, maxNorm: 1e-9 }) };
    await expect(run(links)).rejects.toMatchObject({ code: "COHORT_TOO_SMALL", message: expect.stringContaining("MESSAGE_REFUSED") as string });
  });
});

describe("with parts, blocks, feedback and differences", () => {
  const links: Links = { uplink: up({ encoding: "q8_0", topK: 0.5, errorFeedback: true }), downlink: down({ encoding: "q4_0", delta: true }) };
  test.each(robustnessTests(() => withLinks(createStrategy("fedavg"), links)))("$title", async (entry) => {
    await entry.run();
  });
});

describe("every strategy", () => {
  const lossy: Links = { uplink: up({ encoding: "q8_0" }), downlink: down({ encoding: "f16" }) };
  const DOWNLINK_REFUSED = ["scaffold", "fedasync", "fedbuff", "fedex-lora", "flora", "fed-sb", "fedbiot", "feddpa"];
  const FEEDBACK_REFUSED = ["fedasync", "fedbuff", "flexlora", "florist", "hetlora", "flora", "fedsvd"];
  const DELTA_REFUSED = [...DOWNLINK_REFUSED, "flexlora", "florist", "hetlora", "fedsvd"];

  test("takes the formats that it is defined for and refuses the others by name, with the reason", () => {
    const refused = (links: Links) => STRATEGY_NAMES.filter((name) => {
      try {
        checkLinks(createStrategy(name), links);
        return false;
      } catch (error) {
        expect(error).toMatchObject({ code: "CONFIG_INVALID", message: expect.stringMatching(new RegExp(`with strategy ${name}, wh(ose|ich) `, "u")) as string });
        return true;
      }
    });
    const sorted = (names: readonly string[]) => [...names].sort();
    expect(refused({ uplink: lossy.uplink ?? up() })).toEqual(["scaffold"]);
    expect(sorted(refused({ downlink: down({ encoding: "f16" }) }))).toEqual(sorted(DOWNLINK_REFUSED));
    expect(sorted(refused({ uplink: up({ encoding: "q8_0", errorFeedback: true }) }))).toEqual(sorted(["scaffold", ...FEEDBACK_REFUSED]));
    expect(sorted(refused({ downlink: down({ delta: true }) }))).toEqual(sorted(DELTA_REFUSED));
    expect(refused({ uplink: up(), downlink: down({ compression: "deflate" }) })).toEqual([]);
  });

  test.each(STRATEGY_NAMES)("%s: messages of single precision give the bits that no messages give", async (name) => {
    const [plain, sent] = [makeDeps(name), makeDeps(withLinks(createStrategy(name), { uplink: up(), downlink: down() }))];
    const expected = await runServer(makeOptions(), plain, freshStart());
    const actual = await runServer(makeOptions(), sent, freshStart());
    expect(actual.adapters).toEqual(expected.adapters);
  });
});
