/** `data analyze` in a process of its own: what it prints and writes, and what it refuses. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { syntheticOptions } from "../../src/data/synthetic/profiles.js";
import { writeSyntheticData } from "../../src/data/synthetic/write.js";
import { runCli } from "../helpers/run-cli.js";
import type { CliResult } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const DATA = {
  anna: [{ instruction: "Write a poem about the sea.", response: "The sea is wide." }],
  boris: [{ instruction: "Какая река в этой стране самая длинная и где она начинается?", response: "Волга." }],
};

test("data analyze takes a data file or an experiment, prints a summary and writes the results", async () => {
  const folder = makeTemporaryFolder();
  const data = join(folder, "in.json");
  writeFileSync(data, JSON.stringify(DATA));
  const out = join(folder, "found");
  const { stdout, stderr, exitCode } = await runCli(["data", "analyze", data, "--out", out]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout).toContain("in: 2 single-turn samples of 2 clients");
  expect(stdout).toContain("languages: en 50.0%, ru 50.0%");
  expect(stdout).toMatch(/^anna +en +1 +27 +16 +0\.500 /m);
  expect(["analysis.json", "analysis.sqlite"].map((name) => existsSync(join(out, name)))).toEqual([true, true]);
  const experiment = join(folder, "mine.yaml");
  writeFileSync(experiment, "name: mine\nmodel: builtin:fedllm-tiny\ndata: {train: in.json}\n");
  const other = await runCli(["data", "analyze", experiment, "--out", out, "--json"]);
  expect(JSON.parse(other.stdout)).toMatchObject({ dataset: { name: "mine", numClients: 2 }, overall: { numSamples: 2 } });
  const preset = await runCli(["data", "analyze", "preference/dpo.yaml", "--synthetic", "--out", out]);
  expect(preset.stderr).toContain("data.synthetic");
  const missing = await runCli(["data", "analyze", join(folder, "none.json")]);
  expect(missing.exitCode).not.toBe(0);
  expect(missing.stderr).toContain("none.json, which does not exist");
});

test("Ctrl-C while the model reads ends with 130 and says how to go on, and the same command computes only what is missing", async () => {
  const folder = makeTemporaryFolder();
  const data = join(folder, "data.json");
  await writeSyntheticData(data, { profile: "demo", options: syntheticOptions("demo", { numClients: 4, numSamples: 800, minSamples: 10, languages: { en: 1 } }), seed: 2 });
  const out = join(folder, "found");
  const args = ["data", "analyze", data, "--model", "builtin:fedllm-tiny", "--num-threads", "1", "--out", out];
  const database = join(out, "analysis.sqlite");
  const stopped = await interruptAfterFirst("ifd", args, database);
  expect(stopped).toMatchObject({ exitCode: 130, signal: null, stdout: "" });
  expect(stopped.stderr).toContain("Stopping; the same command goes on from here.");
  expect(stopped.stderr).toContain("error CANCELLED");
  expect(existsSync(join(out, "analysis.json"))).toBe(false);
  // What is known gets a value that the model never gives: it stays, and no other sample has it.
  const known = knownHashes(database, "ifd");
  const mark = JSON.stringify({ lossGivenInstruction: 123, lossAlone: 1, numTokens: 1 });
  withDatabase(database, (open) => open.prepare("UPDATE findings SET value = ? WHERE analysis LIKE 'ifd/%'").run(mark));
  const again = await runCli([...args, "--json"]);
  expect(again.exitCode).toBe(0);
  expect(knownHashes(database, "ifd", mark)).toEqual(known);
  expect(knownHashes(database, "ifd").length).toBeGreaterThan(known.length);
  expect(JSON.parse(again.stdout)).toMatchObject({ overall: { numSamples: 800, quality: { numScored: 800, ifd: { max: 123 } } } });
});

test("Ctrl-C while embeddings for a split are computed ends with 130, and the cache has them for the next call", async () => {
  const folder = makeTemporaryFolder();
  const data = join(folder, "data.json");
  await writeSyntheticData(data, { profile: "demo", options: syntheticOptions("demo", { numClients: 4, numSamples: 800, minSamples: 10, languages: { en: 1, ru: 1 } }), seed: 2 });
  const [out, cache] = [join(folder, "out.json"), join(folder, "cache")];
  const args = ["data", "split", data, "--out", out, "--clients", "4", "--method", "dirichlet", "--by", "cluster", "--model", "builtin:fedllm-tiny", "--clusters", "2", "--cache", cache];
  const database = join(cache, "analysis.sqlite");
  const stopped = await interruptAfterFirst("embedding", args, database);
  expect(stopped).toMatchObject({ exitCode: 130, signal: null, stdout: "" });
  expect(stopped.stderr).toContain("the same command goes on from here");
  expect(existsSync(out)).toBe(false);
  const numKnown = knownHashes(database, "embedding").length;
  const again = await runCli(args);
  expect(again).toMatchObject({ exitCode: 0, stdout: expect.stringContaining("out.json: 4 clients, 800 samples") as string });
  expect(knownHashes(database, "embedding").length).toBeGreaterThan(numKnown);
});

function withDatabase<T>(path: string, work: (open: Database.Database) => T): T {
  const open = new Database(path, { timeout: 5000 });
  try {
    return work(open);
  } finally {
    open.close();
  }
}

/** Ctrl-C as soon as a finding of this analysis is kept. */
async function interruptAfterFirst(analysis: string, args: readonly string[], database: string): Promise<CliResult> {
  let polling: NodeJS.Timeout | undefined;
  return runCli(args, {
    onStart: (child) => {
      polling = setInterval(() => {
        if (!existsSync(database) || knownHashes(database, analysis).length === 0) return;
        clearInterval(polling);
        child.kill("SIGINT");
      }, 20);
    },
  }).finally(() => {
    clearInterval(polling);
  });
}

/** Samples with a finding of this analysis, or only those with this very finding. */
function knownHashes(path: string, analysis: string, value?: string): string[] {
  return withDatabase(path, (open) => {
    const hasTable = open.prepare<[], number>("SELECT count(*) FROM sqlite_schema WHERE name = 'findings'").pluck().get() === 1;
    if (!hasTable) return [];
    const statement = open.prepare<[string, string | null], string>("SELECT sample_sha256 FROM findings WHERE analysis LIKE ? AND value = coalesce(?, value) ORDER BY 1");
    return statement.pluck().all(`${analysis}/%`, value ?? null);
  });
}
