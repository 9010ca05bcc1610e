/** Goal: data and truth are written completely or not at all, belong to each other, and the data tells nothing of the truth. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readFederatedDataset } from "../../../../src/data/dataset.js";
import { syntheticOptions } from "../../../../src/data/synthetic/profiles.js";
import { readSyntheticTruth, truthPathOf, writeSyntheticData } from "../../../../src/data/synthetic/write.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";

test("the truth beside the data has a record for every sample, in the same order, and the data's hash", async () => {
  const path = join(makeTemporaryFolder(), "a.json");
  const options = syntheticOptions("fed-chatbot-it", { numClients: 7, languages: { en: 1, ru: 1 } });
  const written = await writeSyntheticData(path, { profile: "fed-chatbot-it", options, seed: 0 });
  const truth = await readSyntheticTruth(written.truthPath);
  const data = await readFederatedDataset(path);
  expect(data.sha256).toBe(createHash("sha256").update(readFileSync(path)).digest("hex"));
  expect(truth.dataset).toMatchObject({ profile: "fed-chatbot-it", seed: 0, dataSha256: data.sha256, options: { numClients: 7 } });
  expect(truth.clients.map(({ id, samples }) => [id, samples.length])).toEqual(data.clients.map(({ id, samples }) => [id, samples.length]));
  const [sample] = data.clients[0]?.samples ?? [];
  const known = truth.clients[0]?.samples[0];
  expect(sample?.kind === "single-turn" && Buffer.byteLength(sample.instruction) / 4).toBe(known?.instructionTokens);
  expect(new Set(Object.keys((JSON.parse(readFileSync(path, "utf8")) as Record<string, object[]>)["synthetic_user_1"]?.[0] ?? {}))).toEqual(
    new Set(["instruction", "response"]),
  );
});

test("a folder that does not exist leaves nothing, and a truth that is none is refused with its line", async () => {
  const folder = makeTemporaryFolder();
  const source = { profile: "demo", options: syntheticOptions("demo", { numClients: 2 }), seed: 1 } as const;
  await expect(writeSyntheticData(join(folder, "missing", "a.json"), source)).rejects.toMatchObject({ code: "IO_FAILED" });
  expect(readdirSync(folder)).toEqual([]);
  const path = truthPathOf(join(folder, "a.json"));
  expect(path).toBe(join(folder, "a.truth.jsonl"));
  writeFileSync(path, '{"record":"client"}\n');
  await expect(readSyntheticTruth(path)).rejects.toMatchObject({ code: "DATASET_INVALID" });
  const written = await writeSyntheticData(join(folder, "b.json"), source);
  writeFileSync(written.truthPath, `${readFileSync(written.truthPath, "utf8")}{`);
  await expect(readSyntheticTruth(written.truthPath)).rejects.toThrow(/line \d+: expected a JSON record/u);
});
