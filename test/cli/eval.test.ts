/**
 * `eval` on a real run of a tiny model: numbers that the run itself measured, subjects by name, wrong names, and an evaluation that is
 * killed and stopped at random moments. The run is trained once for all tests.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { EVALUATION_CLOCK_COLUMNS } from "../../src/benchmarks/schema.js";
import { PythonRandom } from "../../src/data/python-random.js";
import { runCli } from "../helpers/run-cli.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const folder = mkdtempSync(join(tmpdir(), "fedllm-native-test-"));
const run = join(folder, "run");
const ASK = ["--threads", "1", "--context", "64"];
const SHORT_REPLIES = ["--metric-option", "reply.maxNewTokens=6"];

beforeAll(async () => {
  const { file } = writeTinyExperiment(folder, ["checkpoint: {keepAdapters: 2}"]);
  const { exitCode, stderr } = await runCli(["run", file, "--out", run, "--quiet", "--set", "training.numRounds=5"]);
  expect(exitCode, stderr).toBe(0);
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface PrintedResult {
  readonly metric: string;
  readonly subject: { readonly label: string; readonly precision?: string };
  readonly measures: readonly { readonly measure: string; readonly mean?: number; readonly numItems: number; readonly numExcluded: number; readonly fairness?: { readonly numClients: number } }[];
}

async function evalJson(...args: string[]): Promise<PrintedResult[]> {
  const { exitCode, stdout, stderr } = await runCli(["eval", ...args, ...ASK, ...(args.includes("reply") ? SHORT_REPLIES : []), "--json"]);
  expect(exitCode, stderr).toBe(0);
  return JSON.parse(stdout) as PrintedResult[];
}

const meanOf = (results: readonly PrintedResult[], label: string, measure: string) =>
  results.flatMap(({ subject, measures }) => (subject.label === label ? measures : [])).find((entry) => entry.measure === measure)?.mean;

function queryMetrics<T>(sql: string): T[] {
  const database = new Database(join(run, "metrics.sqlite"), { readonly: true });
  try {
    return database.prepare<[], T>(sql).all();
  } finally {
    database.close();
  }
}

/** Everything of the results but clocks, in the order of what was asked. */
function contentsOf(path: string) {
  const database = new Database(path, { readonly: true });
  try {
    return ["subjects", "evaluations", "items", "gradings", "scores", "unscored"].map((table) => [
      table,
      (database.prepare(`SELECT * FROM ${table}`).all() as Record<string, unknown>[]).map((row) => Object.entries(row).filter(([column]) => !EVALUATION_CLOCK_COLUMNS.includes(column))),
    ]);
  } finally {
    database.close();
  }
}

describe("numbers", () => {
  test("held-out loss and accuracy are those that the run measured, of base, rounds and clients", async () => {
    const results = [
      ...(await evalJson(run, "--metrics", "heldout", "--base", "--arm", "f16-fedavg")),
      ...(await evalJson(run, "--metrics", "heldout", "--arm", "f16-fedavg", "--round", "2")),
      ...(await evalJson(run, "--metrics", "heldout", "--arm", "f16-local")),
    ];
    const rows = queryMetrics<{ arm: string; round: number; metric: string; value: number }>("SELECT arm, round, metric, value FROM evaluations WHERE client_id IS NULL");
    const measured = (arm: string, round: number, metric: string) => rows.find((row) => row.arm === arm && row.round === round && row.metric === metric)?.value;
    // The same tokens in other micro-batches: single precision sums in another order.
    expect(meanOf(results, "base F16", "loss")).toBeCloseTo(measured("f16-fedavg", 0, "heldout_loss") ?? Number.NaN, 5);
    expect(meanOf(results, "f16-fedavg", "loss")).toBeCloseTo(measured("f16-fedavg", 5, "heldout_loss") ?? Number.NaN, 5);
    expect(meanOf(results, "f16-fedavg", "perplexity")).toBeCloseTo(measured("f16-fedavg", 5, "perplexity") ?? Number.NaN, 3);
    expect(meanOf(results, "f16-fedavg", "token_accuracy")).toBeCloseTo(measured("f16-fedavg", 5, "heldout_token_accuracy") ?? Number.NaN, 9);
    const kept = meanOf(results, "f16-fedavg@2", "loss");
    expect(kept).toBeDefined();
    expect(Math.abs((kept ?? 0) - (meanOf(results, "f16-fedavg", "loss") ?? 0))).toBeGreaterThan(1e-6);
    const clients = results.filter(({ subject }) => subject.label.startsWith("f16-local/"));
    expect(clients).toHaveLength(3);
    const mean = clients.reduce((sum, { measures }) => sum + (measures[0]?.mean ?? Number.NaN), 0) / 3;
    expect(mean).toBeCloseTo(measured("f16-local", 5, "heldout_loss") ?? Number.NaN, 5);
    expect(clients[0]?.measures[0]?.fairness?.numClients).toBe(6);
  });

  test("an adapter file with its model has the answers of the run's subject, on two precisions", async () => {
    const fromRun = await evalJson(run, "--metrics", "reply", "--arm", "f16-fedavg", "--precision", "F16", "--precision", "Q8_0");
    expect(fromRun.map(({ subject }) => subject.label)).toEqual(["f16-fedavg", "f16-fedavg on Q8_0"]);
    const questions = ["--questions", `reply=${join(folder, "clients.json")}`];
    const fromFile = await evalJson(join(run, "adapters", "f16-fedavg.gguf"), "--model", join(folder, "tiny.gguf"), "--metrics", "reply", "--template", "chat", "--out", join(folder, "file.sqlite"), ...questions);
    const again = await evalJson(run, "--metrics", "reply", "--arm", "f16-fedavg", "--seed", "2023", ...questions);
    expect(fromFile[0]?.measures).toEqual(again[0]?.measures);
    expect(fromFile[0]?.measures[0]?.numItems).toBe(29);
    const shown = await runCli(["eval", "show", run]);
    expect(shown.stdout).toContain("Replies (reply), mean [95 % interval]");
    expect(shown.stdout).toContain("f16-fedavg on Q8_0");
  });

  test("two subjects are compared item by item", async () => {
    await evalJson(run, "--metrics", "heldout", "--base", "--arm", "f16-fedavg");
    const { exitCode, stdout, stderr } = await runCli(["eval", "compare", `${run}#f16-fedavg`, `${run}#base F16`, "--json"]);
    expect(exitCode, stderr).toBe(0);
    const [loss] = JSON.parse(stdout) as { measure: string; left: number; right: number; difference: number; wins: number; ties: number; losses: number; numItems: number }[];
    expect(loss?.difference).toBeCloseTo((loss?.left ?? 0) - (loss?.right ?? 0), 9);
    expect((loss?.wins ?? 0) + (loss?.ties ?? 0) + (loss?.losses ?? 0)).toBe(loss?.numItems);
  });
});

describe("wrong names", () => {
  test.each([
    [[run, "--metrics", "heldut"], "expected one of heldout, reply", "Did you mean heldout"],
    [[run, "--metrics", "heldout", "--arm", "f16-fedprox"], "expected one of f16-local, f16-fedavg", "f16-fedprox"],
    [[run, "--metrics", "heldout", "--arm", "f16-fedavg", "--round", "3"], "expected one of 2, 4, 5", "keepAdapters"],
    [[run, "--metrics", "heldout", "--arm", "f16-local", "--client", "nobody"], "expected all, or one of", '"nobody"'],
    [[run, "--metrics", "heldout", "--limit", "0"], "--limit: expected a whole number of at least 1", "0"],
    [[run, "--metrics", "mt-bench"], "expected a judge", "--judge-url"],
    [[run, "--metrics", "heldout", "--questions", "reply=x.json"], "expected one of the metrics asked for", "reply"],
    [[run, "--metrics", "heldout", "--metric-option", "heldout.colour=red"], "expected one of set", "colour"],
    [[join(folder, "run", "adapters", "f16-fedavg.gguf"), "--metrics", "heldout"], "the base model of this adapter", "--model"],
    [["nowhere", "--metrics", "heldout"], "RUN_NOT_FOUND", "nowhere"],
    [[join(folder, "tiny.gguf"), "--metrics", "heldout"], "a run, whose held-out samples are judged, or a file", "--questions heldout=FILE"],
    [["compare", `${run}#nobody`, run], "expected one of", "nobody"],
  ])("%j", async (args, expected, also) => {
    const { exitCode, stderr } = await runCli(["eval", ...args]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain(expected);
    expect(stderr).toContain(also);
  });
});

test("killed and stopped at random moments, it ends with the rows of one that was left alone", async () => {
  const ask = ["eval", run, "--metrics", "heldout,reply", "--base", "--arm", "f16-fedavg", "--questions", `reply=${join(folder, "clients.json")}`, "--sequences", "2", ...ASK, ...SHORT_REPLIES, "--json"];
  const whole = join(folder, "whole.sqlite");
  expect((await runCli([...ask, "--out", whole])).exitCode).toBe(0);
  const stopped = join(folder, "stopped.sqlite");
  rmSync(stopped, { force: true });
  const random = new PythonRandom(6);
  const rowsOf = (table: string) => {
    const database = new Database(stopped, { readonly: true });
    try {
      return database.prepare<[], number>(`SELECT count(*) FROM ${table}`).pluck().get() ?? 0;
    } catch {
      return 0;
    } finally {
      database.close();
    }
  };
  let numStopped = 0;
  for (;;) {
    // Each time until the table has so many rows more than before.
    const target = existsSync(stopped) ? rowsOf("items") + rowsOf("scores") + 1 + random.randbelow(25) : 1;
    const isKill = numStopped % 2 === 0;
    const result = await runCli([...ask, "--out", stopped], {
      onStart: (child) => {
        const timer = setInterval(() => {
          if (!existsSync(stopped) || rowsOf("items") + rowsOf("scores") < target) return;
          clearInterval(timer);
          if (numStopped < 4) child.kill(isKill ? "SIGKILL" : "SIGINT");
        }, 2);
        child.on("close", () => {
          clearInterval(timer);
        });
      },
    });
    if (result.exitCode === 0) break;
    expect(result.signal === "SIGKILL" || result.exitCode === 130, result.stderr).toBe(true);
    numStopped += 1;
  }
  expect(numStopped).toBeGreaterThanOrEqual(3);
  expect(contentsOf(stopped)).toEqual(contentsOf(whole));
});
