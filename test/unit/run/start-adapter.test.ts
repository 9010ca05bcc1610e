/** Which file a start adapter's name stands for, and the refusal of adapters of another shape. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";
import type { OpenBaseModel } from "../../../src/run/engine.js";
import { findStartAdapter, locateStartAdapters, readStartAdapter } from "../../../src/run/start-adapter.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

/** A run of these arms, the first few of which have a common adapter. */
function makeRun(folder: string, arms: readonly string[], withAdapter: readonly string[]): void {
  const files = [["config.resolved.yaml", `arms: [${arms.map((name) => `{name: ${name}}`).join(", ")}]`], ...withAdapter.map((arm) => [`adapters/${arm}.gguf`, arm])] as const;
  for (const [name = "", text = ""] of files) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
}

function makeRuns(): string {
  const folder = makeTemporaryFolder();
  makeRun(join(folder, "runs/grid"), ["f16-local", "f16-fedavg", "q8_0-fedavg"], ["f16-fedavg", "q8_0-fedavg"]);
  makeRun(join(folder, "runs/single"), ["f16-local", "f16-fedavg"], ["f16-fedavg"]);
  makeRun(join(folder, "runs/begun"), ["f16-fedavg"], []);
  writeFileSync(join(folder, "odd#name.gguf"), "");
  return folder;
}

describe("a name stands for", () => {
  test.each([
    ["runs/grid", "q8_0-fedavg", "runs/grid/adapters/q8_0-fedavg.gguf"],
    ["runs/grid#f16-fedavg", "q8_0-fedavg", "runs/grid/adapters/f16-fedavg.gguf"],
    ["grid#f16-fedavg", "mine", "runs/grid/adapters/f16-fedavg.gguf"],
    ["single", "mine", "runs/single/adapters/f16-fedavg.gguf"],
    ["odd#name.gguf", "mine", "odd#name.gguf"],
  ])("%s for arm %s", (reference, arm, expected) => {
    const folder = makeRuns();
    expect(findStartAdapter(join(folder, reference), arm)).toBe(join(folder, expected));
  });

  test.each([
    ["none.gguf", "expected a GGUF adapter, or the folder or name of a run"],
    ["runs/grid", "# and one of f16-fedavg, q8_0-fedavg"],
    ["runs/grid#f16-local", "# and one of f16-fedavg, q8_0-fedavg"],
    ["runs/begun", "expected a run with a finished arm that has a common adapter"],
  ])("nothing: %s", (reference, message) => {
    expect(() => findStartAdapter(join(makeRuns(), reference), "mine")).toThrow(message);
  });
});

test("an adapter of another shape is refused with both shapes, one of the same shape is read", async () => {
  const folder = makeTemporaryFolder();
  const path = join(folder, "a.gguf");
  writeFileSync(path, "adapter");
  const { config } = await loadConfig({ overrides: ["data.train=a.json", "lora.rank=4"].map((text) => parseSetOption(text)) });
  const [arm] = config.arms;
  if (arm === undefined) throw new Error("an experiment has an arm");
  const file = (await locateStartAdapters(path, config.arms)).get(arm.name);
  if (file === undefined) throw new Error("the arm has a start adapter");
  const weights = Float32Array.of(1);
  // Nothing else of a base model is needed.
  const baseOf = (rank: number): OpenBaseModel => {
    const base: Partial<OpenBaseModel> = {
      loadAdapter: () => Promise.resolve({ lora: { rank, loraAlpha: 32, targetModules: ["attn_v", "attn_q"] }, weights }),
    };
    return base as OpenBaseModel;
  };
  expect(await readStartAdapter(file, arm, baseOf(4))).toEqual({ ...file, weights });
  expect(file.sha256).toMatch(/^[0-9a-f]{64}$/);
  await expect(readStartAdapter(file, arm, baseOf(8))).rejects.toThrow(
    `start adapter ${path}: expected the shape of arm source-fedavg (rank 4, loraAlpha 32, targetModules attn_q, attn_v, all layers), received rank 8`,
  );
});
