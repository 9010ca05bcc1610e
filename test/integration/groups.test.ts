/** Whole runs with groups of clients on the real addon: one adapter per language family beside one for all, interrupted and not. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { loadConfig, parseSetOption } from "../../src/config/load.js";
import { resumeExperiment, runExperiment } from "../../src/experiment.js";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { clientRounds, evaluationsByArm } from "../../src/metrics/queries.js";
import { readRunContents } from "../helpers/run-contents.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const ARMS = [
  "arms:",
  "  - {name: one, precision: F16, strategy: fedavg}",
  "  - {name: grouped, precision: F16, strategy: fedavg, federation: {adapterPerGroup: true}}",
  "  - {name: own, precision: F16, strategy: ditto, federation: {adapterPerGroup: true}}",
];

async function loadTiny(settings: readonly string[]) {
  const folder = makeTemporaryFolder();
  process.env["FEDLLM_CACHE_DIR"] = join(folder, "cache");
  const { file } = writeTinyExperiment(folder, ARMS);
  writeFileSync(join(folder, "groups.json"), JSON.stringify({ "42": "x", ana: "y", "7": "x", "../up": "y", "Zoë 北": "x", b: "y" }));
  const overrides = settings.map((text) => parseSetOption(text));
  return { config: (await loadConfig({ file, overrides, workingFolder: folder })).config, folder };
}

describe("groups by language family", () => {
  const runFamilies = async () => {
    const loaded = await loadTiny(["data.groups.by=languageFamily"]);
    const folder = join(loaded.folder, "out");
    return { folder, result: await runExperiment(loaded.config, folder) };
  };

  test("every arm has figures by group; those with adapters per group save one each", async () => {
    const { folder, result } = await runFamilies();
    const lines = result.summary.byGroup ?? [];
    expect(lines.map(({ arm, group }) => [arm, group])).toEqual(
      ["one", "grouped", "own"].flatMap((arm) => ["germanic", "romance"].map((group) => [arm, group])),
    );
    for (const { lossBefore, heldOutLoss } of lines) expect(heldOutLoss).toBeLessThan(lossBefore ?? Number.NaN);
    expect(existsSync(join(folder, "adapters/one.gguf"))).toBe(true);
    for (const group of ["germanic", "romance"]) expect(existsSync(join(folder, `adapters/grouped/groups/${group}.gguf`))).toBe(true);
    expect(existsSync(join(folder, "adapters/own/ana.gguf"))).toBe(true);
  });

  test("cohorts are drawn from each group, and the overall loss is over all samples, each by its group's adapter", async () => {
    const { folder } = await runFamilies();
    const database = openMetricsDatabase(join(folder, "metrics.sqlite"), { readonly: true });
    const rows = clientRounds(database, "grouped").filter(({ round }) => round === 1);
    const overall = evaluationsByArm(database, "grouped").filter(({ metric, clientId }) => metric === "heldout_loss" && clientId === null);
    const ofClients = evaluationsByArm(database, "grouped").filter(({ round, metric, clientId }) => round === 3 && metric === "heldout_token_accuracy" && clientId !== null);
    database.close();
    expect(rows.map(({ clientId, group }) => [clientId, group])).toEqual([
      ["../up", "germanic"],
      ["42", "romance"],
      ["7", "germanic"],
      ["Zoë 北", "romance"],
      ["ana", "romance"],
      ["b", "germanic"],
    ]);
    expect(overall.map(({ round }) => round)).toEqual([0, 3]);
    expect(ofClients).toHaveLength(6);
  });
});

test("groups from a file, interrupted after round 1 and resumed, equal an uninterrupted run; another file is refused", async () => {
  const { config, folder } = await loadTiny(["data.groups={by: file, file: groups.json}"]);
  const [undisturbed, stopped] = [join(folder, "undisturbed"), join(folder, "stopped")];
  await runExperiment(config, undisturbed);
  const interrupt = new AbortController();
  const run = runExperiment(config, stopped, {
    signal: interrupt.signal,
    onEvent: (event) => {
      if (event.event === "round_finished" && event.arm === "own" && event.round === 1) interrupt.abort();
    },
  });
  await expect(run).rejects.toMatchObject({ code: "CANCELLED" });
  const groups = join(folder, "groups.json");
  writeFileSync(groups, JSON.stringify({ "42": "y", ana: "y", "7": "x", "../up": "y", "Zoë 北": "x", b: "y" }));
  await expect(resumeExperiment(stopped)).rejects.toThrow(/data\.groups/u);
  writeFileSync(groups, JSON.stringify({ "42": "x", ana: "y", "7": "x", "../up": "y", "Zoë 北": "x", b: "y" }));
  await resumeExperiment(stopped);
  expect(readRunContents(stopped)).toEqual(readRunContents(undisturbed));
});

test("pooled data per group: a pool for each, an adapter for each, and fewer samples than all together", async () => {
  const { config, folder } = await loadTiny(["data.groups.by=languageFamily", "arms.1.strategy=centralized"]);
  const out = join(folder, "out");
  await runExperiment(config, out);
  const database = openMetricsDatabase(join(out, "metrics.sqlite"), { readonly: true });
  const rows = clientRounds(database, "grouped").filter(({ round }) => round === 1);
  database.close();
  // 42, ana and Zoë train on 6 + 3 + 4 of their 9, 4 and 6 samples, the others on 1 + 2 + 3 of 2, 3 and 5.
  expect(rows.map(({ clientId, group, numExamples }) => [clientId, group, numExamples])).toEqual([["pooled germanic", "germanic", 6], ["pooled romance", "romance", 13]]);
  for (const group of ["germanic", "romance"]) expect(existsSync(join(out, `adapters/grouped/groups/${group}.gguf`))).toBe(true);
});

describe("refused", () => {
  test("adapters per group without groups", async () => {
    await expect(loadTiny([])).rejects.toThrow(/federation\.adapterPerGroup of arm grouped.*data\.groups/u);
  });

  test("a strategy that keeps adapters beside the one of the group", async () => {
    await expect(loadTiny(["data.groups.by=field", "arms.1.strategy=flora"])).rejects.toThrow(/flora.*beside the adapter/u);
  });
});
