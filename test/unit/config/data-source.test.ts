/** Goal: an experiment has exactly one source of data, synthetic data is named as such, and variants change only what they name. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseGenerated } from "../../../src/config/data-source.js";
import { loadConfig, parseSetOption } from "../../../src/config/load.js";
import { mergeRaw } from "../../../src/config/overrides.js";
import { applyVariant } from "../../../src/config/variants.js";
import { stringifyConfig } from "../../../src/run/resolved-config.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const load = (text: string, ...settings: string[]) => {
  const file = join(makeTemporaryFolder(), "experiment.yaml");
  writeFileSync(file, text);
  return loadConfig({ file, overrides: settings.map((setting) => parseSetOption(setting)) });
};

describe("the source of data", () => {
  it("is the file unless synthetic data is asked for or there is no file", async () => {
    const both = "data: { train: a.json, heldOutFile: b.json, generated: { profile: demo } }";
    const { config } = await load(both);
    expect(config).toMatchObject({ name: "experiment", data: { synthetic: false, heldOutFraction: 0 } });
    expect(config.data.train).toMatch(/a\.json$/u);
    expect(config.data).not.toHaveProperty("generated");
    const asked = await load(both, "data.synthetic=true");
    expect(asked.config).toMatchObject({ name: "experiment-synthetic", data: { generated: { profile: "demo", seed: 1 }, heldOutFraction: 0.1 } });
    expect(asked.config.data).not.toHaveProperty("heldOutFile");
    expect((await load("data: { generated: { profile: demo, seed: 0 } }")).config.data).toMatchObject({ synthetic: true, generated: { seed: 0 } });
  });

  it("is refused when there is none, and when synthetic data stands beside a file of held-out samples", async () => {
    await expect(load("data: {}")).rejects.toThrow(/data\.train: expected a data file, or synthetic data in data\.generated, received nothing/u);
    await expect(load("data: { train: a.json }", "data.synthetic=true")).rejects.toThrow(/data\.generated: expected a profile/u);
    await expect(load("data: { heldOutFile: b.json, generated: { profile: demo } }")).rejects.toThrow(/data\.heldOutFile: expected none/u);
    await expect(load("data: { generated: { profile: demo, numSamples: 10, minSamples: 2 } }")).rejects.toThrow(/numSamples: expected at least 48/u);
  });

  it("counts in the fingerprint by its options, and a file's does not know of the choice", async () => {
    const fingerprint = async (text: string, ...settings: string[]) => (await load(text, ...settings)).fingerprint;
    const file = await fingerprint("data: { train: a.json }");
    expect(await fingerprint("data: { train: other.json, generated: { profile: demo } }")).toBe(file);
    const synthetic = "data: { generated: { profile: demo } }";
    const prints = [file, await fingerprint(synthetic), await fingerprint(synthetic, "data.generated.seed=2"), await fingerprint(synthetic, "data.generated.qualityNoise=0")];
    expect(new Set(prints).size).toBe(4);
  });

  it("is the same in a stored configuration, whose name does not grow", async () => {
    const { config, fingerprint } = await load(`name: ${"n".repeat(64)}\ndata: { generated: { profile: demo } }`);
    expect(config.name).toBe(`${"n".repeat(54)}-synthetic`);
    const again = await load(stringifyConfig(config));
    expect(again).toMatchObject({ config: { name: config.name, data: config.data }, fingerprint });
  });

  it("names the language of its samples where groups need it", async () => {
    const groups = "groups: { by: languageFamily }, generated: { profile: demo, languageField: false }";
    expect((await load(`data: { ${groups.replace(", languageField: false", "").replace("demo", "fed-aya")} }`)).config.data.generated).toMatchObject({ languageField: true });
    expect((await load(`data: { ${groups} }`)).config.data.generated).toMatchObject({ languageField: false });
  });

  it("names wrong fields of a command's settings like those of a file", () => {
    expect(() => parseGenerated({ profile: "demo", seed: 1 }, [parseSetOption("numClient=3")])).toThrow(/data\.generated\.numClient: expected one of the fields.*Did you mean numClients\?/u);
    expect(parseGenerated({ profile: "demo", seed: 1 }, [parseSetOption("responseTokens.mean=9"), parseSetOption("responseTokens.deviation=2")]).options.responseTokens).toEqual({
      mean: 9,
      deviation: 2,
    });
  });
});

describe("variants", () => {
  const experiment = { name: "e", lora: { rank: 4, loraAlpha: 8 }, arms: { strategies: ["local", "fedavg"] }, variants: { wide: { lora: { rank: 32 }, arms: { strategies: ["fedavg"] } } } };

  it("merge sections and replace lists, and leave the experiment as it is", () => {
    expect(applyVariant(experiment, "wide")).toEqual({ name: "e-wide", lora: { rank: 32, loraAlpha: 8 }, arms: { strategies: ["fedavg"] } });
    expect(applyVariant(experiment, undefined)).toEqual({ name: "e", lora: experiment.lora, arms: experiment.arms });
    expect(mergeRaw({ a: { b: 1 } }, { a: { c: [1] } })).toEqual({ a: { b: 1, c: [1] } });
    expect(mergeRaw({}, JSON.parse('{"__proto__": {"polluted": true}}'))).toEqual({});
  });

  it("are the strategies too, also of a list of arms", () => {
    expect(applyVariant(experiment, "fedprox")).toMatchObject({ name: "e-fedprox", arms: { strategies: ["fedprox"] } });
    const list = { arms: [{ strategy: "local" }, { strategy: "fedavg", name: "a" }, { strategy: "fedavg", name: "b" }] };
    expect(applyVariant(list, "fedavg")).toEqual({ name: "experiment-fedavg", arms: list.arms.slice(1) });
    expect(() => applyVariant(list, "scaffold")).toThrow(/expected one of its variants \(local, fedavg\)/u);
  });
});
