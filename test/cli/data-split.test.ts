/** `data split` in a process of its own: what it prints. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { expect, test } from "vitest";
import { countBy, ranked } from "../../src/analysis/describe.js";
import { syntheticOptions } from "../../src/data/synthetic/profiles.js";
import { readSyntheticTruth, truthPathOf, writeSyntheticData } from "../../src/data/synthetic/write.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

test("data split prints sizes and distances of the clients, and refuses what does not fit", async () => {
  const folder = makeTemporaryFolder();
  const file = join(folder, "in.jsonl");
  writeFileSync(file, Array.from({ length: 30 }, (_, index) => JSON.stringify({ instruction: `q${String(index)}`, response: "a", topic: index % 3 })).join("\n"));
  const out = join(folder, "out.json");
  const args = ["data", "split", file, "--out", out, "--clients", "3", "--method", "pathological", "--by", "field", "--field", "topic", "--shards", "1"];
  const { stdout, stderr, exitCode } = await runCli(args);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout).toContain("out.json: 3 clients, 30 samples");
  expect(stdout).toMatch(/^client-1 +10 +1 +0\.667 /m);
  expect(stdout).toContain("sizes 10 to 10, Gini coefficient 0.000");
  expect((await runCli(["data", "split", file, "--out", out, "--overwrite", "--clients", "3", "--method", "dirichlet"])).stderr).toContain("--by: expected field, language, length, cluster");
});

test("data split by cluster gives each client the samples of one language, computes embeddings once and gives the same file again", async () => {
  const folder = makeTemporaryFolder();
  const data = join(folder, "data.json");
  await writeSyntheticData(data, {
    profile: "demo",
    options: syntheticOptions("demo", { numClients: 6, numSamples: 90, minSamples: 15, sizeDeviation: 0, languages: { en: 1, ru: 1, zh: 1 }, languageMixing: 0 }),
    seed: 4,
  });
  const records = JSON.parse(readFileSync(data, "utf8")) as Clients;
  const { clients } = await readSyntheticTruth(truthPathOf(data));
  const languageOf = new Map(clients.flatMap(({ id, samples }) => samples.map(({ language }, index) => [records[id]?.[index]?.instruction, language])));
  const [out, cache] = [join(folder, "out.json"), join(folder, "cache")];
  const base = ["data", "split", data, "--out", out, "--clients", "3", "--method", "pathological", "--shards", "1"];
  const args = [...base, "--by", "cluster"];
  const model = ["--model", "builtin:fedllm-tiny", "--clusters", "3", "--cache", cache];
  const { stdout, stderr, exitCode } = await runCli([...args, ...model]);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout).toContain("out.json: 3 clients, 90 samples");
  const written = readFileSync(out, "utf8");
  const mainLanguages = Object.values(JSON.parse(written) as Clients).map((samples) => {
    const counts = ranked(countBy(samples, ({ instruction }) => languageOf.get(instruction)));
    // A few short questions may lie nearer to another language.
    expect((counts[0]?.count ?? 0) / samples.length).toBeGreaterThan(0.9);
    return counts[0]?.name;
  });
  expect(mainLanguages.sort()).toEqual(["en", "ru", "zh"]);
  const embeddings = numFindings(cache);
  expect(embeddings).toBe(new Set(Object.values(records).flatMap((samples) => samples.map((sample) => JSON.stringify(sample)))).size);
  expect((await runCli([...args, ...model, "--overwrite"])).exitCode).toBe(0);
  expect(readFileSync(out, "utf8")).toBe(written);
  expect(numFindings(cache)).toBe(embeddings);
  expect((await runCli([...args, "--overwrite"])).stderr).toContain("--by cluster: expected --model");
  expect((await runCli([...base, ...model, "--overwrite", "--by", "language"])).stderr).toContain("expected --by cluster with them");
  expect((await runCli([...args, "--model", "builtin:fedllm-tiny", "--clusters", "1", "--overwrite"])).stderr).toContain("clusters: expected an integer of at least 2");
});

type Clients = Record<string, { instruction: string }[]>;

function numFindings(folder: string): number {
  const database = new Database(join(folder, "analysis.sqlite"), { readonly: true });
  const count = database.prepare<[], number>("SELECT count(*) FROM findings").pluck().get();
  database.close();
  return count ?? 0;
}
