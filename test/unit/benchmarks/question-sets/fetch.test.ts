/** Fetching question sets from a real server: whole, broken off, changed, offline, as an archive, and from files. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { requireQuestionSet } from "../../../../src/benchmarks/question-sets/catalogue.js";
import type { QuestionSet } from "../../../../src/benchmarks/question-sets/catalogue.js";
import { fetchQuestionSet, installQuestionSet } from "../../../../src/benchmarks/question-sets/fetch.js";
import { questionFolder, readQuestionManifest, requireInstalled } from "../../../../src/benchmarks/question-sets/store.js";
import { breakOff, serve, startFileServer } from "../../../helpers/file-server.js";
import { makeTemporaryFolder } from "../../../helpers/temporary-folder.js";
import { makeZip } from "../../../helpers/zip.js";

const QUESTIONS = Buffer.from(Array.from({ length: 80 }, (_, index) => `${JSON.stringify({ question_id: index, turns: [`question ${String(index)}`] })}\n`).join(""));
const network = { isOffline: false };

/** The set of this name with other published bytes. */
function setOf(name: string, files: Readonly<Record<string, Buffer>>, numItems: number): QuestionSet {
  const published = Object.entries(files).map(([file, bytes]) => ({ name: file, url: "https://example.invalid/", sha256: createHash("sha256").update(bytes).digest("hex"), numBytes: bytes.length }));
  return { ...requireQuestionSet(name), files: published, numItems };
}

const vicuna = setOf("vicuna", { "question.jsonl": QUESTIONS }, 80);

describe("a set", () => {
  test("is downloaded, compared with what is published, and recorded", async () => {
    const dataDir = makeTemporaryFolder();
    expect(() => requireInstalled(dataDir, vicuna)).toThrow("questions get vicuna");
    const { origin } = await startFileServer(serve(QUESTIONS));
    const manifest = await fetchQuestionSet({ dataDir, set: vicuna, network, url: `${origin}/q` });
    expect(manifest).toMatchObject({ name: "vicuna", source: `${origin}/q`, licence: "Apache-2.0", numItems: 80, files: vicuna.files.map(({ name, sha256, numBytes }) => ({ name, sha256, numBytes })), warnings: [] });
    expect(await readQuestionManifest(dataDir, vicuna)).toEqual(manifest);
    expect(readFileSync(join(requireInstalled(dataDir, vicuna), "question.jsonl"))).toEqual(QUESTIONS);
    expect(existsSync(join(dataDir, "downloads", "questions", "vicuna"))).toBe(false);
  });

  test("is gone on with after a broken connection", async () => {
    const dataDir = makeTemporaryFolder();
    const { origin, requests } = await startFileServer([breakOff(QUESTIONS, 1000), serve(QUESTIONS)]);
    await fetchQuestionSet({ dataDir, set: vicuna, network, url: origin, pauseMs: 1 });
    expect(requests[1]?.headers.range).toBe("bytes=1000-");
    expect(readFileSync(join(questionFolder(dataDir, vicuna), "question.jsonl"))).toEqual(QUESTIONS);
  });

  test("of several files comes from one folder", async () => {
    const references = Buffer.from(`${JSON.stringify({ question_id: 1, choices: [{ turns: ["a", "b"] }] })}\n`);
    const questions = Buffer.from(`${JSON.stringify({ question_id: 1, turns: ["q", "r"] })}\n`);
    const set = setOf("mt-bench", { "question.jsonl": questions, "reference_answer/gpt-4.jsonl": references }, 1);
    const { origin, requests } = await startFileServer([serve(questions), serve(references)]);
    const dataDir = makeTemporaryFolder();
    expect(await fetchQuestionSet({ dataDir, set, network, url: `${origin}/data/` })).toMatchObject({ numItems: 1, warnings: [] });
    expect(requests.map(({ url }) => url)).toEqual(["/data/question.jsonl", "/data/reference_answer/gpt-4.jsonl"]);
    expect(readFileSync(join(questionFolder(dataDir, set), "reference_answer/gpt-4.jsonl"))).toEqual(references);
  });

  test("of an archive is unpacked to what its metric reads", async () => {
    const csv = "q,1,2,3,4,B\n";
    const archive = makeZip([{ name: "data/dev/anatomy_dev.csv", content: csv }, { name: "data/test/anatomy_test.csv", content: csv }, { name: "data/val/anatomy_val.csv", content: csv }]);
    const set = setOf("mmlu", { "data.zip": archive }, 1);
    const { origin } = await startFileServer(serve(archive));
    const dataDir = makeTemporaryFolder();
    expect(await fetchQuestionSet({ dataDir, set, network, url: `${origin}/data.zip` })).toMatchObject({ numItems: 1, warnings: [] });
    const folder = requireInstalled(dataDir, set);
    expect(existsSync(join(folder, "test", "anatomy_test.csv"))).toBe(true);
    expect(existsSync(join(folder, "val"))).toBe(false);
  });

  test("with other bytes than the published ones is refused, and what was installed before stays", async () => {
    const dataDir = makeTemporaryFolder();
    const { origin } = await startFileServer([serve(QUESTIONS), serve(Buffer.from(QUESTIONS.toString("latin1").replace("question 7", "question 8")))]);
    const installed = await fetchQuestionSet({ dataDir, set: vicuna, network, url: origin });
    await expect(fetchQuestionSet({ dataDir, set: vicuna, network, url: origin })).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining(vicuna.files[0]?.sha256 ?? "") as string });
    expect(await readQuestionManifest(dataDir, vicuna)).toEqual(installed);
  });

  test("is not asked for offline", async () => {
    const { origin, requests } = await startFileServer(serve(QUESTIONS));
    const options = { dataDir: makeTemporaryFolder(), set: vicuna, network: { isOffline: true }, url: origin };
    await expect(fetchQuestionSet(options)).rejects.toMatchObject({ code: "DOWNLOAD_FAILED", message: expect.stringContaining("offline mode") as string });
    expect(requests).toEqual([]);
  });
});

describe("files that are here", () => {
  test("are taken with a warning where they differ, by their names in a folder", async () => {
    const folder = makeTemporaryFolder();
    mkdirSync(join(folder, "deep"));
    writeFileSync(join(folder, "deep", "question.jsonl"), QUESTIONS.subarray(0, QUESTIONS.indexOf("\n") + 1));
    await expect(installQuestionSet(makeTemporaryFolder(), vicuna, folder)).rejects.toThrow("the file question.jsonl in the folder");
    const { warnings, numItems } = await installQuestionSet(makeTemporaryFolder(), vicuna, join(folder, "deep"));
    expect(numItems).toBe(1);
    expect(warnings).toEqual([expect.stringContaining("question.jsonl is another file") as string, "80 questions are published, these are 1"]);
  });

  test("that cannot be used are refused before anything is replaced", async () => {
    const dataDir = makeTemporaryFolder();
    const path = join(makeTemporaryFolder(), "other-name.jsonl");
    writeFileSync(path, QUESTIONS);
    const installed = await installQuestionSet(dataDir, vicuna, path);
    writeFileSync(path, '{"turns": []}\n');
    await expect(installQuestionSet(dataDir, vicuna, path)).rejects.toMatchObject({ code: "DATASET_INVALID" });
    await expect(installQuestionSet(dataDir, vicuna, `${path}.none`)).rejects.toMatchObject({ code: "IO_FAILED" });
    expect(await readQuestionManifest(dataDir, vicuna)).toEqual(installed);
  });

  test("a damaged record is refused with the way to a new one", async () => {
    const dataDir = makeTemporaryFolder();
    mkdirSync(questionFolder(dataDir, vicuna), { recursive: true });
    writeFileSync(join(questionFolder(dataDir, vicuna), "questions.json"), "{}");
    await expect(readQuestionManifest(dataDir, vicuna)).rejects.toMatchObject({ code: "DATASET_INVALID", message: expect.stringContaining("questions get vicuna") as string });
  });
});
