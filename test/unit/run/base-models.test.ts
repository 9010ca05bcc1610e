/** The open variants of a base model: what is opened and closed, and that only one model counts as the same. */
import { expect, test } from "vitest";
import { BaseModels } from "../../../src/run/base-models.js";
import type { ModelTokenizer, OpenBaseModel, TrainingEngine } from "../../../src/run/engine.js";

const INFO = {
  architecture: "llama",
  numLayers: 2,
  embeddingLength: 8,
  feedForwardLength: 16,
  numHeads: 2,
  numKvHeads: 2,
  headLength: 4,
  vocabularySize: 100,
  contextLength: 64,
  tiedHead: false,
  numParameters: 1000,
  weightBytes: 2000,
  tensorTypes: {},
};

interface Change {
  readonly info?: Partial<typeof INFO>;
  readonly tokenize?: (text: string) => Int32Array;
}

/** Models F16 and Q8_0, the second one with a change; `log` tells what was opened and closed. */
function makeModels(change: Change = {}) {
  const log: string[] = [];
  const engine = {
    openBaseModel: (path: string): Promise<OpenBaseModel> => {
      log.push(`open ${path}`);
      const base: Partial<OpenBaseModel> = {
        weightBytes: 1,
        info: { ...INFO, ...(path === "Q8_0" ? change.info : {}) },
        dispose: () => log.push(`close ${path}`),
      };
      return Promise.resolve(base as OpenBaseModel);
    },
    openTokenizer: (path: string): Promise<ModelTokenizer> => {
      const plain = (text: string) => Int32Array.from(text, (character) => character.codePointAt(0) ?? 0);
      const tokenize = path === "Q8_0" ? (change.tokenize ?? plain) : plain;
      return Promise.resolve({ bosToken: 1, addBos: true, tokenize, detokenize: () => "", dispose: () => undefined });
    },
  } as unknown as TrainingEngine;
  const variants = new Map(["F16", "Q8_0"].map((precision) => [precision, { precision, path: precision, sha256: "", made: false }]));
  return { models: new BaseModels(engine, variants, () => undefined), log };
}

test("opens each model once, keeps it for the next arm and closes what that one does not need", async () => {
  const { models, log } = makeModels();
  await models.open(["F16"]);
  models.release(["F16"]);
  expect([...(await models.open(["F16", "Q8_0"])).keys()]).toEqual(["F16", "Q8_0"]);
  models.release(["F16", "Q8_0"]);
  await models.open(["Q8_0"]);
  models.dispose();
  expect(log).toEqual(["open F16", "open Q8_0", "close F16", "close Q8_0"]);
});

test("keeps a model that another arm still uses, and opens it once for two that ask at the same time", async () => {
  const { models, log } = makeModels();
  const [first, second] = await Promise.all([models.open(["F16"]), models.open(["F16"])]);
  expect(first.get("F16")).toBe(second.get("F16"));
  models.release(["F16"]);
  await models.open(["Q8_0"]);
  expect(log).toEqual(["open F16", "open Q8_0"]);
  models.release(["F16"]);
  await models.open(["Q8_0"]);
  expect(log).toEqual(["open F16", "open Q8_0", "close F16"]);
});

test.each([
  ["architecture", { info: { architecture: "qwen2" } }],
  ["numLayers", { info: { numLayers: 3 } }],
  ["vocabularySize", { info: { vocabularySize: 101 } }],
  ["tokens", { tokenize: (text: string) => Int32Array.from(text, () => 7) }],
])("refuses to train one adapter on models that differ in their %s", async (fact, change) => {
  await expect(makeModels(change).models.open(["F16", "Q8_0"])).rejects.toMatchObject({
    code: "MODEL_UNSUPPORTED",
    message: expect.stringContaining(`${fact} of Q8_0: expected that of F16`) as string,
  });
});

test("weights of other types and bytes are what precision means", async () => {
  const change = { info: { weightBytes: 1, numParameters: 1000, tensorTypes: { Q8_0: 3 } } };
  await expect(makeModels(change).models.open(["F16", "Q8_0"])).resolves.toBeDefined();
});
