/** The script of the preference demonstration: the same bytes each time, as many pairs of one side as of the other to judge by. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { readFederatedDataset } from "../../src/data/dataset.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const SCRIPT = fileURLToPath(new URL("../../experiments/preference/make-pairs.mjs", import.meta.url));
const names = ["pairs.json", "pairs-heldout.json"] as const;

function makePairs(): string {
  const folder = makeTemporaryFolder();
  expect(spawnSync(process.execPath, [SCRIPT, folder], { stdio: "inherit" }).status).toBe(0);
  return folder;
}

test("two runs of the script write the same bytes", () => {
  const [first, second] = [makePairs(), makePairs()];
  for (const name of names) expect(readFileSync(join(first, name)).equals(readFileSync(join(second, name)))).toBe(true);
});

test("all pairs can be used, and half of the held-out ones prefer the friendly answer", async () => {
  const folder = makePairs();
  const [clients, heldOut] = await Promise.all(names.map((name) => readFederatedDataset(join(folder, name))));
  expect(clients).toMatchObject({ kind: "preference", numProblems: 0, clients: { length: 48 } });
  expect(heldOut).toMatchObject({ kind: "preference", numProblems: 0, numSamples: 320 });
  const samples = heldOut?.clients.flatMap((client) => client.samples) ?? [];
  const friendly = samples.filter((sample) => sample.kind === "preference" && sample.chosen.endsWith(sample.rejected));
  expect(friendly).toHaveLength(160);
  // No question to judge by is in anyone's training data.
  const prompts = new Set(clients?.clients.flatMap((client) => client.samples.map((sample) => (sample.kind === "preference" ? sample.prompt : ""))));
  expect(samples.filter((sample) => sample.kind === "preference" && prompts.has(sample.prompt))).toEqual([]);
});
