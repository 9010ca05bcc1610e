/** Strategies from files: what is loaded, what is refused with which words, and how arms and options name them. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { createArmStrategy } from "../../../src/config/arm-strategies.js";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";
import { loadStrategy, strategyLabel } from "../../../src/config/strategy-file.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

/** FedAvg under another name, with one option. */
const SOURCE = `
export default {
  options: {
    parse({ window = 2 }) {
      if (!Number.isInteger(window)) throw new Error("window: a whole number");
      return { window };
    },
  },
  create: ({ window }, { createFedAvg }) => ({ ...createFedAvg(), name: "window " + window }),
};
`;

function writeStrategy(folder: string, name = "windowed.mjs", source = SOURCE): string {
  const path = join(folder, name);
  writeFileSync(path, source);
  return path;
}

function load(folder: string, lines: readonly string[], settings: readonly string[] = []) {
  const file = join(folder, "experiment.yaml");
  writeFileSync(file, ["data: {train: clients.json}", ...lines].join("\n"));
  return loadConfig({ file, workingFolder: folder, overrides: settings.map((text) => parseSetOption(text)) });
}

describe("a strategy's file", () => {
  test("gives a strategy, with its options checked and defaulted by itself", async () => {
    const source = await loadStrategy(writeStrategy(makeTemporaryFolder()));
    expect(source.create({}).name).toBe("window 2");
    expect(source.create({ own: { window: 5 } }).name).toBe("window 5");
    expect(() => source.create({ own: { window: 0.5 } })).toThrow(
      /^strategyOptions.own: expected options that .*windowed.mjs accepts \(window: a whole number\), received \{"window":0.5\}$/,
    );
  });

  test("in TypeScript loads too", async () => {
    const source = "interface Options { readonly window: number }\n" + SOURCE.replace("({ window }, ", "({ window }: Options, ");
    expect((await loadStrategy(writeStrategy(makeTemporaryFolder(), "typed.ts", source))).create({}).name).toBe("window 2");
  });

  test.each([
    ["syntax.mjs", "export default {", "expected a module that loads, received "],
    ["import.mjs", 'import "./none.mjs"; export default {};', "expected a module that loads, received "],
    ["throws.mjs", 'throw new Error("on loading");', "received Error: on loading"],
    ["nothing.mjs", "export const strategy = 1;", "received no default export. docs/strategies.md shows an example"],
    ["number.mjs", "export default 3;", "received a number"],
    ["create.mjs", "export default { create: 3 };", "received an object with create"],
    ["options.mjs", "export default { create() {}, options: {} };", "received an object with create, options"],
  ])("%s is refused: %s", async (name, source, expected) => {
    const file = writeStrategy(makeTemporaryFolder(), name, source);
    await expect(loadStrategy(file)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining(expected) as string });
    await expect(loadStrategy(file)).rejects.toThrow(file);
  });

  test.each([
    ["() => undefined", "received name: undefined. Start from toolkit.createFedAvg()"],
    ["(_, { createFedAvg }) => ({ ...createFedAvg(), aggregate: 1 })", "received aggregate: a number"],
    ['(_, { createFedAvg }) => ({ ...createFedAvg(), cohort: "all" })', 'received cohort: "all"'],
    ["(_, { createFedAvg }) => ({ ...createFedAvg(), clientSide: {} })", "received clientSide: an object with no fields"],
    [
      "(_, { createFedAvg }) => ({ ...createFedAvg(), asynchronous: { bufferSize: 1 }, clientSide: { begin: (task) => task, finish: () => ({}) } })",
      "expected no clientSide where the strategy is asynchronous",
    ],
  ])("whose create is %s makes no strategy", async (create, expected) => {
    const source = await loadStrategy(writeStrategy(makeTemporaryFolder(), "wrong.mjs", `export default { create: ${create} };`));
    expect(() => source.create({})).toThrow(expected);
  });

  test("without options refuses any", async () => {
    const source = await loadStrategy(writeStrategy(makeTemporaryFolder(), "plain.mjs", "export default { create: (_, t) => t.createFedAvg() };"));
    expect(source.create({}).name).toBe("fedavg");
    expect(() => source.create({ own: { window: 1 } })).toThrow("expected no options");
  });

  test("that is not there is named", async () => {
    await expect(loadStrategy("/none/my.ts")).rejects.toThrow("strategy: expected an existing file, received /none/my.ts");
  });

  test.each([
    ["fedavg", "fedavg"],
    ["/a/b/my-strategy.ts", "my-strategy"],
    ["/a/b/мой метод.mjs", "own---------"],
    ["/a/b.c/1.5.js", "1.5"],
  ])("%s is called %s", (reference, label) => {
    expect(strategyLabel(reference)).toBe(label);
  });
});

describe("an experiment with a strategy's file", () => {
  test("finds it from the experiment's folder, names the arm after it and gives it its options", async () => {
    const folder = makeTemporaryFolder();
    mkdirSync(join(folder, "methods"));
    const path = writeStrategy(join(folder, "methods"));
    const { config } = await load(folder, [
      "strategyOptions: {own: {window: 7}, proximalMu: 0.5}",
      "arms: {strategies: [./methods/windowed.mjs, fedprox], byStrategy: {./methods/windowed.mjs: {lora: {rank: 3}}}}",
    ]);
    expect(config.arms.map(({ name, strategy, strategyOptions, lora }) => [name, strategy, strategyOptions, lora.rank])).toEqual([
      ["source-windowed", path, { own: { window: 7 } }, 3],
      ["source-fedprox", "fedprox", { proximalMu: 0.5 }, 16],
    ]);
    const [arm] = config.arms;
    if (arm === undefined) throw new Error("there is an arm");
    expect((await createArmStrategy(arm)).name).toBe("window 7");
  });

  test("finds one that is given from outside from the working folder", async () => {
    const folder = makeTemporaryFolder();
    const path = writeStrategy(folder);
    const elsewhere = makeTemporaryFolder();
    writeFileSync(join(elsewhere, "experiment.yaml"), "data: {train: clients.json}\narms: [{strategy: fedavg}]");
    const overrides = [parseSetOption("arms.0.strategy=windowed.mjs")];
    const { config } = await loadConfig({ file: join(elsewhere, "experiment.yaml"), workingFolder: folder, overrides });
    expect(config.arms[0]?.strategy).toBe(path);
  });

  test("has a fingerprint that does not depend on where the file lies", async () => {
    const fingerprints = await Promise.all(
      [makeTemporaryFolder(), makeTemporaryFolder()].map(async (folder) => {
        writeStrategy(folder);
        return (await load(folder, ["arms: [{strategy: windowed.mjs}]"])).fingerprint;
      }),
    );
    expect(fingerprints[0]).toBe(fingerprints[1]);
  });

  test.each([
    ["arms.0.strategy=windowed", "arms.0.strategy (--set): expected one of local, fedavg", "or a file of a strategy (.ts, .mts, .js, .mjs), received \"windowed\""],
    ["arms.0.strategyOptions.own.window=x", "strategyOptions.own: expected options that", 'received {"window":"x"}'],
    ["arms.0.strategyOptions.tau=1", "strategyOptions.tau of arm source-windowed: expected an option of strategy windowed (own), received 1", "received 1"],
  ])("%s is refused", async (setting, expected, received) => {
    const folder = makeTemporaryFolder();
    writeStrategy(folder);
    const loading = load(folder, ["arms: [{strategy: windowed.mjs}]"], [setting]);
    await expect(loading).rejects.toThrow(expected);
    await expect(loading).rejects.toThrow(received);
  });
});
