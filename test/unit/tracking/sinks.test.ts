/** Trackers: files read back by an independent reader, MLflow against a server that keeps to its contract, and failures that never reach the run. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { parseTrackers } from "../../../src/cli/tracking.js";
import { readMlflowServer } from "../../../src/config/tracking-environment.js";
import type { TrackedPoint } from "../../../src/metrics/tracked-points.js";
import { csvSink } from "../../../src/tracking/csv.js";
import { mlflowSink } from "../../../src/tracking/mlflow.js";
import type { Sink } from "../../../src/tracking/sink.js";
import { crc32c, tensorboardSink } from "../../../src/tracking/tensorboard.js";
import { Tracker } from "../../../src/tracking/tracker.js";
import { Secret } from "../../../src/util/secret.js";
import { readEventFile, slowCrc32c } from "../../helpers/event-file.js";
import { startMlflowServer } from "../../helpers/mlflow-server.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const START = Date.parse("2026-01-02T03:04:05Z");
const point = (arm: string, round: number, name: string, value: number): TrackedPoint => ({ arm, round, name, value, timeMs: START + round * 1000 });
const points = [point("a", 0, "heldout_loss", 2.5), point("a", 300, "heldout_loss@emulator", 1.25), point("b", 1, "heldout_loss/group/Gr\"oß, x", 0.1)];

describe("TensorBoard", () => {
  test("checksums are CRC32C", () => {
    // The check value of the published algorithm.
    expect(crc32c(Buffer.from("123456789"))).toBe(0xe3069283);
    for (const length of [0, 1, 31, 1000]) expect(crc32c(Buffer.alloc(length, 0xa5))).toBe(slowCrc32c(Buffer.alloc(length, 0xa5)));
  });

  test("event files have a version and every point with step, time and value", async () => {
    const folder = makeTemporaryFolder();
    const sink = tensorboardSink(folder, START);
    await sink.write(points.slice(0, 1));
    await sink.write(points.slice(1));
    const events = readEventFile(readFileSync(join(folder, "a", `events.out.tfevents.${String(START / 1000)}.fedllm`)));
    expect(events[0]).toEqual({ version: "brain.Event:2", wallTime: START / 1000, scalars: [] });
    expect(events.slice(1)).toEqual([
      { wallTime: START / 1000, step: 0, scalars: [{ tag: "heldout_loss", value: 2.5 }] },
      { wallTime: START / 1000 + 300, step: 300, scalars: [{ tag: "heldout_loss@emulator", value: 1.25 }] },
    ]);
    const [, other] = readEventFile(readFileSync(join(folder, "b", `events.out.tfevents.${String(START / 1000)}.fedllm`)));
    expect(other?.scalars).toEqual([{ tag: 'heldout_loss/group/Gr"oß, x', value: Math.fround(0.1) }]);
  });
});

test("CSV has a line for each point, names quoted where they must be", async () => {
  const path = join(makeTemporaryFolder(), "deep", "metrics.csv");
  const sink = csvSink(path);
  await sink.write(points);
  expect(readFileSync(path, "utf8").split("\n")).toEqual([
    "arm,round,time,metric,value",
    "a,0,2026-01-02T03:04:05.000Z,heldout_loss,2.5",
    "a,300,2026-01-02T03:09:05.000Z,heldout_loss@emulator,1.25",
    'b,1,2026-01-02T03:04:06.000Z,"heldout_loss/group/Gr""oß, x",0.1',
    "",
  ]);
});

describe("MLflow", () => {
  const run = { name: "study", runId: "id", startMs: START, parameters: { a: { "lora.rank": "16", note: "x".repeat(9000) } } };

  test("has an experiment, a run for each arm with parameters, and all points in batches, through failures that pass", async () => {
    const server = await startMlflowServer([503, 429]);
    const pauses: number[] = [];
    const sleep = (ms: number) => {
      pauses.push(ms);
      return Promise.resolve();
    };
    const many = Array.from({ length: 2500 }, (_, round) => point("a", round, "train_loss", round));
    const sink = mlflowSink({ url: `${server.url}/`, authorization: new Secret("Bearer token-1234567890") }, run, { maxAttempts: 4, sleep });
    await sink.write([...points, ...many]);
    await sink.finish("FINISHED");
    expect(pauses).toEqual([500, 1000]);
    expect([...server.experiments.keys()]).toEqual(["study"]);
    const [a, b] = [...server.runs.values()];
    expect([a?.name, a?.status, b?.name, b?.status]).toEqual(["study a", "FINISHED", "study b", "FINISHED"]);
    expect(a?.metrics).toHaveLength(2502);
    expect(a?.metrics[1]).toEqual({ key: "heldout_loss.emulator", value: 1.25, timestamp: START + 300_000, step: 300 });
    expect(a?.params.get("lora.rank")).toBe("16");
    expect(new Set(server.authorizations)).toEqual(new Set(["Bearer token-1234567890"]));
    // A second run of the same name goes to the same experiment.
    await mlflowSink({ url: server.url }, run, { maxAttempts: 1, sleep }).write(points);
    expect(server.experiments.size).toBe(1);
    await server.close();
  });

  test("a failure that lasts is told once, and neither the other trackers nor the run hear of it", async () => {
    const server = await startMlflowServer(Array.from({ length: 50 }, () => 500));
    const got: string[] = [];
    const problems: string[] = [];
    const other: Sink = { name: "csv", write: () => Promise.resolve(), finish: (status) => Promise.resolve(void got.push(status)) };
    const mlflow = mlflowSink({ url: server.url }, run, { maxAttempts: 3, sleep: () => Promise.resolve() });
    const failing: Sink = { ...mlflow, finish: () => mlflow.write(points) };
    const tracker = new Tracker([failing, other], { metrics: join(makeTemporaryFolder(), "none.sqlite"), onProblem: (text) => problems.push(text) });
    tracker.update();
    expect(await tracker.finish("KILLED")).toBe(false);
    expect(got).toEqual(["KILLED"]);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^mlflow gets nothing more of this run: .*status 500/u);
    await server.close();
  });

  test("address and key come from MLflow's variables", () => {
    const url = "http://127.0.0.1:5000";
    expect(readMlflowServer({ MLFLOW_TRACKING_URI: url })).toEqual({ url });
    expect(readMlflowServer({ MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_TOKEN: "abc-token" }).authorization?.reveal()).toBe("Bearer abc-token");
    const basic = { MLFLOW_TRACKING_URI: url, MLFLOW_TRACKING_USERNAME: "u", MLFLOW_TRACKING_PASSWORD: "pass-word" };
    expect(readMlflowServer(basic).authorization?.reveal()).toBe(`Basic ${Buffer.from("u:pass-word").toString("base64")}`);
    expect(() => readMlflowServer({})).toThrow("MLFLOW_TRACKING_URI: expected the address");
    expect(() => readMlflowServer({ MLFLOW_TRACKING_URI: "file:///x" })).toThrow("received another form");
  });
});

test("names of trackers are checked before anything is done", () => {
  expect(parseTrackers("csv, tensorboard,csv")).toEqual(["tensorboard", "csv"]);
  expect(() => parseTrackers("wandb")).toThrow("some of tensorboard, mlflow, csv");
  expect(() => parseTrackers("")).toThrow("--report-to");
});
