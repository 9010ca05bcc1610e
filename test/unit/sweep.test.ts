/** What --grid means. */
import { expect, test } from "vitest";
import { parseGridOption, sweepCells } from "../../src/sweep.js";

test("values are YAML: numbers, texts, lists", () => {
  expect(parseGridOption("lora.rank=4,8")).toEqual({ path: "lora.rank", values: [4, 8] });
  expect(parseGridOption("training.initialLearningRate=1e-3,3e-3").values).toEqual([1e-3, 3e-3]);
  expect(parseGridOption("lora.targetModules=[attn_q],[attn_q, attn_v]").values).toEqual([["attn_q"], ["attn_q", "attn_v"]]);
});

test("all combinations with names that a folder may have", () => {
  const cells = sweepCells([parseGridOption("lora.rank=4,8"), parseGridOption("model=a/b.gguf")], [0, 5]);
  expect(cells.map(({ name }) => name)).toEqual(["lora.rank=4,model=a.b.gguf,seed=0", "lora.rank=4,model=a.b.gguf,seed=5", "lora.rank=8,model=a.b.gguf,seed=0", "lora.rank=8,model=a.b.gguf,seed=5"]);
  const long = sweepCells([{ path: "lora.rank", values: ["x".repeat(300), "x".repeat(301)] }], []);
  expect(long.every(({ name }) => name.length < 255)).toBe(true);
});

test.each([
  ["lora.rank", /field\.path=value/],
  ["lora.rank=", /values with commas/],
  ["lora.rank=[", /YAML values/],
  ["seed=1,2", /--seeds/],
])("refuses --grid %s", (text, message) => {
  expect(() => sweepCells([parseGridOption(text)], [])).toThrow(message);
});

test("refuses a field or a value that is there twice, and too many cells", () => {
  const rank = parseGridOption("lora.rank=4,8");
  expect(() => sweepCells([rank, rank], [])).toThrow(/each field once/);
  expect(() => sweepCells([parseGridOption("lora.rank=4,4")], [])).toThrow(/each value once/);
  expect(() => sweepCells([{ path: "lora.rank", values: Array.from({ length: 10_001 }, (_, index) => index) }], [])).toThrow(/at most 10000/);
});
