/** analysis.sqlite: what is kept, what is refused, and passes that go on where they stopped. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { asJson, runPass } from "../../../src/analysis/pass.js";
import type { AnalysisProgress, Pass } from "../../../src/analysis/pass.js";
import { chooseSamples, listSamples } from "../../../src/analysis/samples.js";
import { AnalysisStore } from "../../../src/analysis/store.js";
import { openMetricsDatabase } from "../../../src/metrics/database.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const single = (response: string) => ({ kind: "single-turn", instruction: "q", response }) as const;
const samples = listSamples({ clients: [{ id: "a", samples: ["1", "22", "333"].map(single) }, { id: "b", samples: ["22", "4444"].map(single) }] });

/** Counts the letters of an answer and notes whom it was asked about. */
function lengthPass(asked: string[], analysis = "length/1"): Pass<number> {
  return {
    step: "lengths",
    analysis,
    batchSize: 2,
    compute: (batch) =>
      batch.map(({ sample }) => {
        const text = sample.kind === "single-turn" ? sample.response : "";
        asked.push(text);
        return text.length;
      }),
    ...asJson<number>(),
  };
}

describe("passes", () => {
  test("a text is computed once, however often it is there, and not again by the next process", async () => {
    const path = join(makeTemporaryFolder(), "analysis.sqlite");
    const first = new AnalysisStore(path);
    const asked: string[] = [];
    expect(await runPass(samples, lengthPass(asked), { store: first })).toEqual([1, 2, 3, 2, 4]);
    expect(asked).toEqual(["1", "22", "333", "4444"]);
    first.close();
    const second = new AnalysisStore(path);
    const again: string[] = [];
    expect(await runPass(samples, lengthPass(again), { store: second })).toEqual([1, 2, 3, 2, 4]);
    expect(again).toEqual([]);
    // Another rule or model is another name, and computes anew.
    await runPass(samples, lengthPass(again, "length/2"), { store: second });
    expect(again).toHaveLength(4);
    second.close();
  });

  test("an interrupted pass keeps its batches and goes on after them", async () => {
    const store = new AnalysisStore(join(makeTemporaryFolder(), "analysis.sqlite"));
    const controller = new AbortController();
    const asked: string[] = [];
    const seen: AnalysisProgress[] = [];
    const onProgress = (progress: AnalysisProgress) => {
      seen.push(progress);
      if (progress.numDone === 2) controller.abort();
    };
    await expect(runPass(samples, lengthPass(asked), { store, onProgress, signal: controller.signal })).rejects.toMatchObject({ code: "CANCELLED" });
    expect(seen.at(-1)).toEqual({ step: "lengths", numDone: 2, numTotal: 4, numKnown: 0 });
    const rest: string[] = [];
    expect(await runPass(samples, lengthPass(rest), { store, onProgress: (progress) => seen.push(progress) })).toEqual([1, 2, 3, 2, 4]);
    expect([...asked, ...rest]).toEqual(["1", "22", "333", "4444"]);
    expect(seen.at(-1)).toEqual({ step: "lengths", numDone: 4, numTotal: 4, numKnown: 2 });
    store.close();
  });
});

test("vectors come back byte by byte", () => {
  const store = new AnalysisStore(join(makeTemporaryFolder(), "analysis.sqlite"));
  store.keep("vector", [["h", new Uint8Array([1, 0, 255])]]);
  expect(Buffer.from(store.findings("vector").get("h") ?? "")).toEqual(Buffer.from([1, 0, 255]));
  store.close();
});

test("a few samples of each client are chosen by their texts, whatever else is there", () => {
  const many = listSamples({ clients: [{ id: "a", samples: Array.from({ length: 50 }, (_, index) => single(String(index))) }] });
  const few = chooseSamples(many, 10);
  expect(few).toHaveLength(10);
  expect(chooseSamples([...many].reverse(), 10).map(({ hash }) => hash).sort()).toEqual(few.map(({ hash }) => hash).sort());
  expect(chooseSamples(many, 12).map(({ hash }) => hash)).toEqual(expect.arrayContaining(few.map(({ hash }) => hash)));
  expect(chooseSamples(samples, 10)).toEqual(samples);
});

describe("files in the way", () => {
  const refusal = (prepare: (path: string) => void) => {
    const path = join(makeTemporaryFolder(), "analysis.sqlite");
    prepare(path);
    return () => new AnalysisStore(path);
  };

  test("a text, the metrics of a run, another program's database and another version are refused", () => {
    const invalid = expect.objectContaining({ code: "METRICS_INVALID" }) as Error;
    expect(refusal((path) => { writeFileSync(path, "not a database, but long enough to be looked at. ".repeat(40)); })).toThrow(invalid);
    expect(refusal((path) => { openMetricsDatabase(path).close(); })).toThrow(invalid);
    expect(refusal((path) => { new Database(path).exec("CREATE TABLE t (x)").close(); })).toThrow(invalid);
    expect(refusal((path) => {
      new AnalysisStore(path).close();
      const database = new Database(path);
      database.pragma("user_version = 99");
      database.close();
    })).toThrow(/version 99/u);
  });
});
