/** The experiment file: defaults, overrides, paths, and one message per wrong field that says where and what. */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { fingerprintConfig, loadConfig, parseSetOption } from "../../../src/config/load.js";
import type { ConfigOverride } from "../../../src/config/load.js";
import { experimentJsonSchema } from "../../../src/config/schema.js";
import { isFedllmError } from "../../../src/errors.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

/** Writes an experiment into a fresh folder and returns its path. */
function writeExperiment(text: string): string {
  const file = join(makeTemporaryFolder(), "experiment.yaml");
  writeFileSync(file, text);
  return file;
}

function set(...texts: string[]): { overrides: ConfigOverride[] } {
  return { overrides: texts.map((text) => parseSetOption(text)) };
}

async function messageOf(work: Promise<unknown> | (() => unknown)): Promise<string> {
  try {
    await (typeof work === "function" ? work() : work);
  } catch (error) {
    if (!isFedllmError(error, "CONFIG_INVALID")) throw error;
    return error.message;
  }
  throw new Error("no error was thrown");
}

describe("defaults and overrides", () => {
  test("what a file leaves out is what FedLLM-Bench uses", async () => {
    const { config } = await loadConfig({ file: writeExperiment("data: {train: a.json}") });
    const [arm] = config.arms;
    expect(arm?.lora).toEqual({ rank: 16, loraAlpha: 32, dropout: 0.05, targetModules: ["attn_q", "attn_v"] });
    expect(arm?.training).toMatchObject({ clientsPerRound: 10, localSteps: 10, batchSize: 16, initialLearningRate: 2e-5, finalLearningRate: 1e-6 });
    expect(arm?.training.optimizer).toEqual({ beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0, maxGradientNorm: 1 });
    expect(config.arms.map(({ name }) => name)).toEqual(["source-fedavg"]);
  });

  test("a grid has an arm for each precision and strategy, precisions outside", async () => {
    const { config } = await loadConfig(set("data.train=a.json", "arms={precisions: [F16, Q4_K_M], strategies: [local, fedavg]}"));
    expect(config.arms.map(({ name }) => name)).toEqual(["f16-local", "f16-fedavg", "q4_k_m-local", "q4_k_m-fedavg"]);
  });

  test("a grid's differences by strategy reach all arms of that strategy and no others, also one that is named later", async () => {
    const own = "arms.byStrategy={local: {training: {initialLearningRate: 0.5}, lora: {rank: 4}}}";
    const { config } = await loadConfig(set("data.train=a.json", "arms.precisions=[F16, Q8_0]", own, "arms.strategies=[local, fedavg]"));
    expect(config.arms.map(({ name, training, lora }) => [name, training.initialLearningRate, lora.rank])).toEqual([
      ["f16-local", 0.5, 4],
      ["f16-fedavg", 2e-5, 16],
      ["q8_0-local", 0.5, 4],
      ["q8_0-fedavg", 2e-5, 16],
    ]);
    const wrong = messageOf(loadConfig(set("data.train=a.json", "arms.byStrategy={fedsgd: {}}")));
    expect(await wrong).toContain("arms");
  });

  test("an arm changes single fields of the common sections and leaves the others", async () => {
    const file = writeExperiment(`data: {train: a.json}
training: {localSteps: 7, optimizer: {beta1: 0.8}}
arms:
  - {precision: F16}
  - {name: slow, precision: F16, training: {initialLearningRate: 1.0e-4, optimizer: {beta2: 0.5}}, lora: {rank: 2}}
`);
    const { config } = await loadConfig({ file });
    expect(config.arms[0]?.training).toMatchObject({ localSteps: 7, initialLearningRate: 2e-5, optimizer: { beta1: 0.8, beta2: 0.999 } });
    expect(config.arms[1]).toMatchObject({
      name: "slow",
      lora: { rank: 2, loraAlpha: 32 },
      training: { localSteps: 7, initialLearningRate: 1e-4, optimizer: { beta1: 0.8, beta2: 0.5 } },
    });
  });

  test("each arm takes the common strategy options its strategy knows, then its own, then defaults", async () => {
    const file = writeExperiment(`data: {train: a.json}
strategyOptions: {beta1: 0.9, proximalMu: 0.1}
arms:
  - {strategy: fedavg}
  - {strategy: fedprox}
  - {strategy: fedavgm, strategyOptions: {reference: textbook}}
  - {strategy: fedadam, strategyOptions: {beta1: 0}}
`);
    const { config } = await loadConfig({ file });
    expect(config.arms.map(({ strategyOptions }) => strategyOptions)).toEqual([
      {},
      { proximalMu: 0.1 },
      { reference: "textbook", beta1: 0.9, serverLearningRate: 1 },
      { reference: "fedllm-bench", serverLearningRate: 1e-3, tau: 1e-3, beta1: 0, beta2: 0.99 },
    ]);
  });

  test("later overrides win over earlier ones and over the file; a seed of 0 is a seed", async () => {
    const file = writeExperiment("seed: 5\ndata: {train: a.json}");
    const { config } = await loadConfig({ file, ...set("seed=9", "seed=0") });
    expect(config.seed).toBe(0);
  });

  test("a tenth of each client is held out, unless there is a file of held-out samples", async () => {
    expect((await loadConfig(set("data.train=a.json"))).config.data.heldOutFraction).toBe(0.1);
    expect((await loadConfig(set("data.train=a.json", "data.heldOutFile=b.json"))).config.data.heldOutFraction).toBe(0);
    const both = await loadConfig(set("data.train=a.json", "data.heldOutFile=b.json", "data.heldOutFraction=0.2"));
    expect(both.config.data.heldOutFraction).toBe(0.2);
  });

  test("null switches gradient clipping off", async () => {
    const { config } = await loadConfig(set("data.train=a.json", "training.optimizer.maxGradientNorm=null"));
    expect(config.arms[0]?.training.optimizer.maxGradientNorm).toBeNull();
  });

  test("paths of the file start at the file, paths of overrides at the working folder, built-in models stay", async () => {
    const file = writeExperiment("model: models/m.gguf\ndata: {train: a.json, heldOutFile: ../b.json}");
    const folder = resolve(file, "..");
    const fromFile = await loadConfig({ file, workingFolder: "/somewhere" });
    expect(fromFile.config.model).toBe(join(folder, "models", "m.gguf"));
    expect(fromFile.config.data.heldOutFile).toBe(resolve(folder, "..", "b.json"));
    const overridden = await loadConfig({ file, workingFolder: "/somewhere", ...set("data.train=c.json", "model=builtin:fedllm-tiny") });
    expect(overridden.config.data.train).toBe("/somewhere/c.json");
    expect(overridden.config.model).toBe("builtin:fedllm-tiny");
  });

  test("the result is frozen throughout", async () => {
    const { config } = await loadConfig(set("data.train=a.json"));
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.arms[0]?.training.optimizer)).toBe(true);
  });
});

describe("the fingerprint", () => {
  const load = async (...texts: string[]) => (await loadConfig(set("data.train=a.json", "numThreads=2", ...texts))).fingerprint;

  test("changes with a setting that shapes results and not with names and places", async () => {
    const base = await load();
    expect(await load("training.optimizer.beta1=0.8")).not.toBe(base);
    expect(await load("seed=1")).not.toBe(base);
    const fedprox = "arms.strategies=[fedprox]";
    expect(await load(fedprox, "strategyOptions.proximalMu=0.02")).not.toBe(await load(fedprox));
    expect(await load(fedprox, "strategyOptions.proximalMu=0.01")).toBe(await load(fedprox));
    expect(await load("name=other", "data.train=elsewhere/b.json", "model=/m.gguf")).toBe(base);
  });

  test("does not depend on the order of fields", async () => {
    const { config } = await loadConfig(set("data.train=a.json"));
    const reordered = Object.fromEntries(Object.entries(config).reverse()) as typeof config;
    expect(fingerprintConfig(reordered)).toBe(fingerprintConfig(config));
  });
});

describe("wrong fields", () => {
  test.each([
    ["seed=-1", "seed (--set): expected a number of at least 0, received -1"],
    ["seed=1.5", "seed (--set): expected a whole number, received 1.5"],
    ["name=a b", "name (--set): expected 1 to 64 letters"],
    ["lora.rank=0", "lora.rank (--set): expected a number of at least 1, received 0"],
    ["lora.dropout=1", "lora.dropout (--set): expected a number of less than 1, received 1"],
    ["lora.loraAlpha=0", "lora.loraAlpha (--set): expected a number of more than 0, received 0"],
    ["lora.targetModules=[attn_x]", "lora.targetModules.0 (--set): expected one of attn_q, attn_k"],
    ["lora.targetModules=[]", "lora.targetModules (--set): expected a list of at least 1 entries"],
    ["training.localSteps=ten", 'training.localSteps (--set): expected a number or dynamic, received "ten"'],
    ["training.optimizer.beta2=1", "training.optimizer.beta2 (--set): expected a number of less than 1"],
    ["training.numRounds=1000001", "training.numRounds (--set): expected a number of at most 1000000"],
    ["data.template=llama", "data.template (--set): expected one of alpaca, vicuna_v1.1, chat, none"],
    ["training.localSteps=0", "training.localSteps (--set): expected a number of at least 1, received 0"],
    ["data.heldOutFraction=0.95", "data.heldOutFraction (--set): expected a number of at most 0.9"],
    ["arms=[{precision: Q3}]", "arms.0.precision (--set): expected one of source, F32, F16"],
    ["arms=[{strategy: fedavgg}]", "arms.0.strategy (--set): expected one of local, fedavg, fedprox, scaffold, fedavgm, fedadagrad, fedyogi, fedadam, "],
    ["arms=[{training: {localSteps: 0}}]", "arms.0.training.localSteps (--set): expected a number of at least 1"],
    ["arms=7", "arms (--set): expected a list of arms, or a grid"],
    ["arms.precisions=[F17]", "arms.precisions.0 (--set): expected one of"],
    ["numThreads=0", "numThreads (--set): expected a number of at least 1"],
    ["federation.overSelection=2", "federation.overSelection of arm source-fedavg: expected federation.devices, whose simulated clock it goes by, received no devices"],
    ["federation.clientTimeoutSeconds=2", "federation.clientTimeoutSeconds of arm source-fedavg: expected federation.devices"],
    ["federation.devices={profiles: {a: {tokensPerSecond: 1}}, shares: {b: 1}}", 'federation.devices.shares of arm source-fedavg: expected names of profiles (a), received "b"'],
    ["federation.devices={profiles: {a: {tokensPerSecond: 1}}, clients: {u: b}}", 'federation.devices.clients of arm source-fedavg: expected names of profiles (a), received "b"'],
    ["federation.devices={profiles: {a: {tokensPerSecond: 1}}, shares: {a: 0}}", "federation.devices of arm source-fedavg: expected at least one profile that can be drawn, received shares of 0 only"],
    ["federation.devices={profiles: {}}", "received no profile"],
    ["federation.devices={profiles: {a: {tokensPerSecond: 0}}}", "federation.devices.profiles.a.tokensPerSecond (--set): expected a number of more than 0, received 0"],
    ["strategyOptions.beta1=1", "strategyOptions.beta1 (--set): expected a number of less than 1, received 1"],
    ["strategyOptions.proximlMu=1", "strategyOptions.proximlMu (--set): expected one of the fields reference, proximalMu"],
    ["strategyOptions.tau=1", "strategyOptions.tau: expected an option of a strategy of this experiment (fedavg: none), received 1"],
    [
      "arms=[{name: slow, strategy: fedprox, strategyOptions: {tau: 1}}]",
      "strategyOptions.tau of arm slow: expected an option of strategy fedprox (proximalMu), received 1",
    ],
    ["checkpoint.every=0", "checkpoint.every (--set): expected a number of at least 1"],
  ])("%s is refused with the field, what was expected and what came", async (text, expected) => {
    expect(await messageOf(loadConfig(set("data.train=a.json", text)))).toContain(expected);
  });

  test("all wrong fields are named at once, with the file's lines", async () => {
    const file = writeExperiment("seed: x\ndata:\n  train: a.json\n  maxLength: 1\n");
    const message = await messageOf(loadConfig({ file }));
    expect(message.split("\n")).toEqual([
      'seed (experiment.yaml line 1): expected a number, received "x"',
      "data.maxLength (experiment.yaml line 4): expected a number of at least 8, received 1",
    ]);
  });

  test.each([
    ["training: {num_rounds: 5}", "training.num_rounds (experiment.yaml line 2)", "Did you mean numRounds?"],
    ["lora: {rnak: 5}", "lora.rnak (experiment.yaml line 2)", "Did you mean rank?"],
    ["rank: 5", "rank (experiment.yaml line 2)", "Did you mean lora.rank?"],
    ["arms: [{stratgy: local}]", "arms.0.stratgy (experiment.yaml line 2)", "Did you mean strategy?"],
  ])("an unknown field (%s) is an error with a suggestion", async (line, place, suggestion) => {
    const message = await messageOf(loadConfig({ file: writeExperiment(`data: {train: a.json}\n${line}\n`) }));
    expect(message).toContain(place);
    expect(message).toContain(suggestion);
  });

  test("two arms of one name are refused, also when only upper and lower case differ", async () => {
    const arms = "arms=[{name: a}, {name: A}]";
    expect(await messageOf(loadConfig(set("data.train=a.json", arms)))).toContain("arms.1.name: expected a name no other arm has");
  });

  test("a learning rate that rises over rounds is refused", async () => {
    const message = await messageOf(loadConfig(set("data.train=a.json", "training.finalLearningRate=1")));
    expect(message).toContain("training.finalLearningRate of arm source-fedavg: expected at most initialLearningRate (0.00002), received 1");
  });

  test("asking for more updates than clients is refused", async () => {
    const message = await messageOf(loadConfig(set("data.train=a.json", "training.minClients=11")));
    expect(message).toContain("training.minClients of arm source-fedavg: expected at most clientsPerRound (10), received 11");
  });

  test("a module named twice is refused", async () => {
    const message = await messageOf(loadConfig(set("data.train=a.json", "lora.targetModules=[attn_q, attn_q]")));
    expect(message).toContain("expected each module once");
  });

  test("layers that do not ascend are refused", async () => {
    const message = await messageOf(loadConfig(set("data.train=a.json", "lora.layers=[1, 1]")));
    expect(message).toContain("lora.layers of arm source-fedavg: expected ascending numbers, received 1, 1");
  });

  test("a missing data section is named", async () => {
    expect(await messageOf(loadConfig({}))).toContain("data: expected a section with fields, received nothing");
  });
});

describe("files that are no experiment", () => {
  test("a missing file, a folder and broken YAML are named", async () => {
    const folder = makeTemporaryFolder();
    mkdirSync(join(folder, "sub"));
    expect(await messageOf(loadConfig({ file: join(folder, "none.yaml") }))).toContain("none.yaml");
    expect(await messageOf(loadConfig({ file: join(folder, "sub") }))).toContain("EISDIR");
    const message = await messageOf(loadConfig({ file: writeExperiment("a: [1\nb: 2") }));
    expect(message).toContain("expected valid YAML");
    expect(message).toContain("line 2");
  });

  test("a list and a huge file are refused", async () => {
    expect(await messageOf(loadConfig({ file: writeExperiment("- a\n- b\n") }))).toContain("expected a YAML mapping of fields");
    expect(await messageOf(loadConfig({ file: writeExperiment(`#${"x".repeat(1 << 20)}`) }))).toContain("at most 1048576 bytes");
  });

  test("a key that reaches the prototype does nothing but fail", async () => {
    const message = await messageOf(loadConfig({ file: writeExperiment("data: {train: a.json}\n__proto__: {polluted: 1}\n") }));
    expect(message).toContain("__proto__");
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe("--set", () => {
  test.each(["training", "=3", "a..b=1", "__proto__.x=1", "a.constructor.b=1"])("%s is no assignment", async (text) => {
    expect(await messageOf(() => parseSetOption(text))).toContain("--set: expected field.path=value");
  });

  test("values are YAML", () => {
    expect(parseSetOption("a.b=[1, x]")).toMatchObject({ path: ["a", "b"], value: [1, "x"] });
    expect(parseSetOption("a=")).toMatchObject({ value: null });
    expect(parseSetOption("a=b=c")).toMatchObject({ value: "b=c" });
  });

  test("a field below a plain value is refused", async () => {
    const below = set("data.train=a.json", "seed=1", "seed.x=1");
    expect(await messageOf(loadConfig(below))).toContain("--set seed.x: expected seed to be a section, received 1");
    expect(await messageOf(loadConfig(set("data.train=a.json", "seed.x=1")))).toContain("seed (--set): expected a number");
  });

  test("a name below a list is refused instead of being lost", async () => {
    const message = await messageOf(loadConfig(set("data.train=a.json", "arms=[{precision: F16}]", "arms.precisions=[F16]")));
    expect(message).toContain("arms is a list");
  });
});

test("the published JSON Schema is the one of the program", () => {
  const published: unknown = JSON.parse(readFileSync(resolve("src/config/experiment.schema.json"), "utf8"));
  // To renew it: fedllm-native config schema > src/config/experiment.schema.json
  expect(published).toEqual(JSON.parse(JSON.stringify(experimentJsonSchema())));
});
