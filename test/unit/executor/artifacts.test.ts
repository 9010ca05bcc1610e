/** Artifacts in a folder: atomic, found by their hash, damage refused; and what a run removes of them. */
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { hashBytes } from "../../../src/executor/artifacts.js";
import { FileArtifacts } from "../../../src/executor/file-artifacts.js";
import { JobArtifacts } from "../../../src/executor/job-artifacts.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const bytes = Buffer.from("some bytes");
const name = hashBytes(bytes);
const filesOf = (folder: string) => readdirSync(folder, { recursive: true, withFileTypes: true }).flatMap((entry) => (entry.isFile() ? [entry.name] : []));

describe("artifacts in a folder", () => {
  test("are there under their hash, whoever puts them and however often", async () => {
    const folder = makeTemporaryFolder();
    await Promise.all([new FileArtifacts(folder).put(name, bytes), new FileArtifacts(folder).put(name, bytes), new FileArtifacts(folder).put(name, bytes)]);
    expect(filesOf(folder)).toEqual([name]);
    expect(Buffer.from(await new FileArtifacts(folder).get(name))).toEqual(bytes);
  });

  test("that are damaged are refused once and can be put again", async () => {
    const folder = makeTemporaryFolder();
    const store = new FileArtifacts(folder);
    await store.put(name, bytes);
    writeFileSync(join(folder, name.slice(0, 2), name), "some bytez");
    await expect(store.get(name)).rejects.toMatchObject({ code: "ARTIFACT_INVALID" });
    await store.put(name, bytes);
    expect(Buffer.from(await store.get(name))).toEqual(bytes);
  });

  test("that are not there, and names that are no hashes, are refused", async () => {
    const store = new FileArtifacts(makeTemporaryFolder());
    await expect(store.get(name)).rejects.toThrow(/received none/u);
    await expect(store.get("../../etc/passwd")).rejects.toThrow(/expected a SHA-256/u);
    await expect(store.put("..", bytes)).rejects.toMatchObject({ code: "ARTIFACT_INVALID" });
    await store.remove([name]);
  });
});

describe("the artifacts of a run's jobs", () => {
  const weights = (seed: number) => Float32Array.from({ length: 20_000 }, (_, index) => index + seed);

  test("share what they have in common, and go when no job has needed them for a while", async () => {
    const folder = makeTemporaryFolder();
    const artifacts = new JobArtifacts(new FileArtifacts(folder), 2);
    const common = weights(0);
    const first = await artifacts.put({ weights: common, seed: 1 });
    const second = await artifacts.put({ weights: common, seed: 2 });
    expect(filesOf(folder)).toHaveLength(3);
    await artifacts.release(first.hashes);
    await artifacts.release(second.hashes);
    expect(filesOf(folder)).toHaveLength(3);
    for (const seed of [3, 4]) await artifacts.release((await artifacts.put({ weights: weights(1), seed })).hashes);
    // The first round's weights and requests are gone, the second's are not yet.
    expect(filesOf(folder)).not.toContain(first.sha256);
    expect(filesOf(folder)).toHaveLength(3);
    await artifacts.clear();
    expect(filesOf(folder)).toEqual([]);
  });

  test("that are taken as a result are gone, unless a request has the same bytes", async () => {
    const folder = makeTemporaryFolder();
    const worker = new JobArtifacts(new FileArtifacts(folder), 1);
    const run = new JobArtifacts(new FileArtifacts(folder), 1);
    const request = await run.put({ weights: weights(0) });
    const result = await worker.put({ weights: weights(0), other: weights(5) });
    expect(await run.take(result.sha256)).toEqual({ weights: weights(0), other: weights(5) });
    expect(filesOf(folder).sort()).toEqual([...request.hashes].sort());
  });
});
