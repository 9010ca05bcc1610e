/** Goal: only files of this program and of a known schema are opened, and old ones are brought up to date. */
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import Database from "better-sqlite3";
import { describe, expect, test } from "vitest";
import { checkSqliteVersion, openMetricsDatabase } from "../../../src/metrics/database.js";
import { armProgress, clientRounds, evaluationsByArm, events, measuresByArm, run } from "../../../src/metrics/queries.js";
import { APPLICATION_ID, MIGRATIONS } from "../../../src/metrics/schema.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const makePath = (): string => join(makeTemporaryFolder(), "metrics.sqlite");

const invalid = (text: string): Error =>
  expect.objectContaining({
    code: "METRICS_INVALID",
    message: expect.stringContaining(text) as string,
  }) as Error;

describe("opening", () => {
  test("makes a new file with all tables strict, foreign keys, WAL and full synchronisation", () => {
    const database = openMetricsDatabase(makePath());
    const tables = database
      .prepare<[], { name: string; strict: number }>(
        "SELECT name, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite_%' ORDER BY name",
      )
      .all();
    expect(tables).toEqual(
      ["arms", "client_rounds", "evaluations", "events", "group_evaluations", "predictions", "round_measures", "rounds", "runs", "transfer_evaluations"].map((name) => ({ name, strict: 1 })),
    );
    const pragma = (name: string): unknown => database.pragma(name, { simple: true });
    expect(pragma("journal_mode")).toBe("wal");
    expect(pragma("synchronous")).toBe(2);
    expect(pragma("foreign_keys")).toBe(1);
    expect(pragma("user_version")).toBe(MIGRATIONS.length);
    expect(pragma("application_id")).toBe(APPLICATION_ID);
    database.close();
  });

  test("has the columns that other programs read", () => {
    const database = openMetricsDatabase(makePath());
    const columnsOf = (table: string): readonly string[] =>
      database.prepare<[string], string>("SELECT name FROM pragma_table_info(?)").pluck().all(table);
    expect(columnsOf("client_rounds")).toEqual(
      expect.arrayContaining([
        "arm",
        "round",
        "client_id",
        "num_samples",
        "num_tokens",
        "train_loss",
        "train_duration_ms",
        "update_norm",
        "upload_bytes",
        "download_bytes",
      ]),
    );
    expect(columnsOf("evaluations")).toEqual(["arm", "round", "client_id", "metric", "value"]);
    expect(columnsOf("round_measures")).toEqual(["arm", "round", "layer", "measure", "value"]);
    database.close();
  });

  test("again changes nothing, and a reader beside the writer sees the same schema", () => {
    const path = makePath();
    const writer = openMetricsDatabase(path);
    const reader = openMetricsDatabase(path, { readonly: true });
    expect(reader.pragma("user_version", { simple: true })).toBe(MIGRATIONS.length);
    expect(() => reader.exec("DELETE FROM runs")).toThrow("readonly");
    reader.close();
    writer.close();
    openMetricsDatabase(path).close();
  });
});

describe("migration", () => {
  const second = [...MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT; UPDATE runs SET note = 'old';"];

  test("brings an older file up to date and keeps its rows", () => {
    const path = makePath();
    const old = openMetricsDatabase(path);
    old.exec("INSERT INTO runs VALUES ('r', '2026-01-01T00:00:00Z', 0, '{}', '{}', NULL)");
    old.close();
    const current = openMetricsDatabase(path, { migrations: second });
    expect(current.prepare("SELECT id, note FROM runs").get()).toEqual({ id: "r", note: "old" });
    expect(current.pragma("user_version", { simple: true })).toBe(second.length);
    current.close();
  });

  test("opens the file of schema version 1 that is kept, with every row", () => {
    const path = makePath();
    copyFileSync(resolve(import.meta.dirname, "../../fixtures/metrics-v1.sqlite"), path);
    const database = openMetricsDatabase(path);
    expect(database.pragma("user_version", { simple: true })).toBe(MIGRATIONS.length);
    expect(run(database)).toMatchObject({ id: "v1", seed: 0, dataSha256: "d0" });
    expect(armProgress(database)).toEqual([
      { arm: "F16/fedavg", lastRound: 1 },
      { arm: "F16/base", lastRound: null },
    ]);
    expect(clientRounds(database, "F16/fedavg")).toMatchObject([
      { clientId: "a", failureCode: "UPDATE_REJECTED", trainLoss: null },
      { clientId: "b", failureCode: null, trainLoss: 1.5, numTokens: 2000, peakMemoryBytes: 100_000_000 },
    ]);
    expect(evaluationsByArm(database, "F16/fedavg").map(({ value }) => value)).toEqual([1.25, 1.125]);
    expect(events(database)).toMatchObject([{ kind: "updateRejected", clientId: "a" }]);
    expect(measuresByArm(database, "F16/fedavg")).toEqual([]);
    database.close();
  });

  test("that fails leaves the older file as it was", () => {
    const path = makePath();
    openMetricsDatabase(path).close();
    const broken = [...MIGRATIONS, "ALTER TABLE runs ADD COLUMN note TEXT; SELECT * FROM nowhere;"];
    expect(() => openMetricsDatabase(path, { migrations: broken })).toThrow("nowhere");
    const database = openMetricsDatabase(path);
    const columns = database.prepare<[], string>("SELECT name FROM pragma_table_info('runs')").pluck().all();
    expect(columns).not.toContain("note");
    database.close();
  });

  test("is not for readers: an older file is refused read-only", () => {
    const path = makePath();
    openMetricsDatabase(path).close();
    expect(() => openMetricsDatabase(path, { readonly: true, migrations: second })).toThrow(invalid("Resume the run"));
  });
});

describe("what is not ours is refused and left alone", () => {
  test("a file with a newer schema", () => {
    const path = makePath();
    openMetricsDatabase(path, { migrations: [...MIGRATIONS, "SELECT 1"] }).close();
    expect(() => openMetricsDatabase(path)).toThrow(invalid(`expected metrics schema version ${MIGRATIONS.length} or older, received ${MIGRATIONS.length + 1}`));
  });

  test("a file that is not SQLite", () => {
    const path = makePath();
    writeFileSync(path, "round,client,loss\n".repeat(100));
    const before = readFileSync(path);
    expect(() => openMetricsDatabase(path)).toThrow(invalid("not SQLite"));
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test("a database of another program", () => {
    const path = makePath();
    const other = new Database(path);
    other.exec("CREATE TABLE notes (text)");
    other.close();
    const before = readFileSync(path);
    expect(() => openMetricsDatabase(path)).toThrow(invalid("another program"));
    expect(readFileSync(path).equals(before)).toBe(true);
  });

  test("a missing file for a reader, and a folder that does not exist", () => {
    const path = makePath();
    const failed = expect.objectContaining({ code: "IO_FAILED" }) as Error;
    expect(() => openMetricsDatabase(path, { readonly: true })).toThrow(failed);
    expect(() => openMetricsDatabase(join(path, "below"))).toThrow(failed);
  });
});

test.each([
  ["3.51.3", true],
  ["3.53.0", true],
  ["4.0.0", true],
  ["3.51.2", false],
  ["3.9.9", false],
  ["2.99.99", false],
  ["unknown", false],
])("SQLite %s is accepted: %s", (version, accepted) => {
  const check = (): void => {
    checkSqliteVersion(version);
  };
  if (accepted) expect(check).not.toThrow();
  else expect(check).toThrow(invalid("3.51.3 or newer"));
});
