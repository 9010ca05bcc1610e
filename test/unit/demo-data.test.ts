/**
 * The demonstration data: its statistics, that no held-out question is in anyone's training data, that the answers
 * are right (recomputed here from the question for sums), and that the generator makes the same bytes again.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

interface DemoSample {
  readonly instruction: string;
  readonly response: string;
  readonly task: string;
  readonly language: string;
}

const root = fileURLToPath(new URL("../../", import.meta.url));
const dataFolder = join(root, "experiments", "demo", "data");
const fileNames = ["demo-clients.json", "demo-heldout.json"] as const;

function readJson(name: string): unknown {
  return JSON.parse(readFileSync(join(dataFolder, name), "utf8"));
}

const clients = readJson("demo-clients.json") as Record<string, readonly DemoSample[]>;
const heldout = readJson("demo-heldout.json") as readonly DemoSample[];
const sizes = Object.values(clients)
  .map((samples) => samples.length)
  .sort((a, b) => a - b);

function countBy(samples: readonly DemoSample[], key: (sample: DemoSample) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const sample of samples) counts.set(key(sample), (counts.get(key(sample)) ?? 0) + 1);
  return counts;
}

describe("the demonstration data", () => {
  it("has at least 40 clients of very unequal size", () => {
    expect(sizes.length).toBeGreaterThanOrEqual(40);
    expect(sizes.at(0)).toBeGreaterThanOrEqual(20);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    const largestFifth = sizes.slice(-Math.round(sizes.length / 5)).reduce((sum, size) => sum + size, 0);
    // A log-normal with deviation 0.95 gives its largest fifth about 54 % of all samples; an even split would give 20 %.
    expect(largestFifth / total).toBeGreaterThan(0.4);
    expect((sizes.at(-1) ?? 0) / (sizes.at(0) ?? Infinity)).toBeGreaterThan(10);
  });

  it("spreads at least four languages and six tasks over the clients, each client having one main language", () => {
    const all = Object.values(clients).flat();
    expect(countBy(all, (sample) => sample.language).size).toBeGreaterThanOrEqual(4);
    expect(countBy(all, (sample) => sample.task).size).toBeGreaterThanOrEqual(6);
    for (const [name, samples] of Object.entries(clients)) {
      const most = Math.max(...countBy(samples, (sample) => sample.language).values());
      expect(most / samples.length, name).toBeGreaterThan(0.7);
    }
  });

  it("gives every pair of task and language to some client and the same number of held-out samples", () => {
    const cell = (sample: DemoSample): string => `${sample.task}/${sample.language}`;
    const trained = countBy(Object.values(clients).flat(), cell);
    const asked = countBy(heldout, cell);
    expect([...trained.keys()].sort()).toEqual([...asked.keys()].sort());
    expect(new Set(asked.values()).size).toBe(1);
    expect(heldout.length).toBeGreaterThanOrEqual(300);
  });

  it("asks no held-out question in training, and no question twice of one client", () => {
    const questions = new Set(heldout.map((sample) => sample.instruction));
    expect(questions.size).toBe(heldout.length);
    for (const [name, samples] of Object.entries(clients)) {
      expect(new Set(samples.map((sample) => sample.instruction)).size, name).toBe(samples.length);
      expect(
        samples.filter((sample) => questions.has(sample.instruction)),
        name,
      ).toEqual([]);
    }
  });

  it("answers every sum rightly", () => {
    const sums = [...Object.values(clients).flat(), ...heldout].filter((sample) => sample.task === "sum");
    expect(sums.length).toBeGreaterThan(100);
    for (const { instruction, response } of sums) {
      const [a, b] = [...instruction.matchAll(/\d+/g)].map((match) => Number(match[0]));
      expect(Number(response), instruction).toBe((a ?? NaN) + (b ?? NaN));
    }
  });

  it("stays below a megabyte, one client per line", () => {
    expect(statSync(join(dataFolder, "demo-clients.json")).size).toBeLessThanOrEqual(1_000_000);
    const lines = readFileSync(join(dataFolder, "demo-clients.json"), "utf8").trimEnd().split("\n");
    expect(lines.length).toBe(sizes.length + 2);
  });
});

const python = spawnSync("python3", ["--version"]);

describe.skipIf(python.status !== 0)("the generator of the demonstration data (skipped where python3 is missing)", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "demo-data-"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it("makes the same bytes again", () => {
    const made = spawnSync("python3", ["-B", join(root, "models", "make-demo-data.py"), "--out", folder], { encoding: "utf8" });
    expect(made.stderr).toBe("");
    expect(made.status).toBe(0);
    for (const name of fileNames) {
      expect(readFileSync(join(folder, name)).equals(readFileSync(join(dataFolder, name))), name).toBe(true);
    }
  });
});
