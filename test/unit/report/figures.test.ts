/** Goal: figures of a study show its numbers, say them in words, and take no text for markup. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { renderPng } from "../../../src/figures/png.js";
import { buildStudy } from "../../../src/report/study/build.js";
import { drawStudy, stylesOf } from "../../../src/report/study/figures.js";
import { closeRuns, openRuns } from "../../../src/report/study/source.js";
import { writeRun, type GivenArm } from "../../helpers/study-runs.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const HOSTILE = `"><script>alert(1)</script>&'`;

async function figuresOf(arms: (seed: number) => readonly GivenArm[], seeds: readonly number[]) {
  const parent = makeTemporaryFolder();
  const runs = await openRuns(seeds.map((seed) => writeRun(join(parent, `run-${String(seed)}`), { seed, arms: arms(seed) })));
  try {
    const study = buildStudy(runs);
    return { study, figures: new Map(drawStudy(study).map((figure) => [figure.name, figure])) };
  } finally {
    closeRuns(runs);
  }
}

const grid = (seed: number): GivenArm[] =>
  ["F16", "Q4_K_M"].flatMap((precision, place) =>
    ["fedavg", "local"].map((strategy, worse) => {
      const losses = [4, 2 + worse, 1 + worse + 0.1 * place + 0.01 * seed];
      // The first gains everywhere but with a hostile name, which loses.
      const clientLosses = { ana: losses, ben: losses, [HOSTILE]: [1, 2, 3] };
      return { name: `${precision.toLowerCase()}-${strategy}`, precision, strategy, weightBytes: 1000 - 700 * place, losses, clientLosses };
    }),
  );

test("a grid of precisions and strategies has all figures, each with its numbers in words", async () => {
  const { figures } = await figuresOf(grid, [1, 2, 3]);
  expect([...figures.keys()]).toEqual(["answer", "quality-memory", "heldout-loss-rounds", "heldout-loss-bytes", "heldout-loss-time", "heat-map", "clients", "client-map"]);
  expect(figures.get("answer")?.description).toContain("q4_k_m-fedavg: +0.1000, weights 30 %");
  expect(figures.get("heldout-loss-rounds")?.description).toContain("f16-fedavg ends at 1.0200");
  expect(figures.get("heat-map")?.description).toContain("local: F16 2.0200, Q4_K_M 2.1200");
  expect(figures.get("client-map")?.description).toContain("q4_k_m-local: 1 of 3 lose");
  for (const { svg } of figures.values()) {
    expect(svg).not.toContain("<script");
    expect(svg).not.toMatch(/NaN|Infinity|undefined/u);
    expect((await renderPng(svg)).length).toBeGreaterThan(1000);
  }
  expect(figures.get("clients")?.svg).toContain("&quot;&gt;&lt;script&gt;alert(1)");
});

test("the front has the arms that no other beats in both quality and memory", async () => {
  // a: best loss, b: least memory, c: worse than a in both, d: between a and b.
  const memory = { a: [1, 300], b: [3, 100], c: [1.5, 400], d: [2, 200] };
  const arms = Object.entries(memory).map(([name, [loss = 0, weightBytes = 0]], index) => ({ name, strategy: `s${String(index)}`, losses: [4, loss], weightBytes }));
  const { figures } = await figuresOf(() => arms, [1]);
  expect(figures.get("quality-memory")?.description).toContain("(a, b, d)");
  expect(figures.get("quality-memory")?.svg.match(/class="ring"/gu)).toHaveLength(3);
});

test("arms are told apart by colour and form, also where there are many", async () => {
  const { study } = await figuresOf(grid, [1]);
  const styles = stylesOf(study.arms);
  // Colours by precision, dashes by strategy, the default strategy's full.
  expect(styles.get("q4_k_m-fedavg")).toEqual({ colour: 1, dash: 0 });
  expect(styles.get("f16-local")).toEqual({ colour: 0, dash: 1 });
  const many = Array.from({ length: 20 }, (_, index) => ({ arm: String(index), precision: "F16", strategy: String(index), cells: [], isPreliminary: false }));
  expect(new Set([...stylesOf(many).values()].map(({ colour, dash }) => `${String(colour)} ${String(dash)}`)).size).toBe(20);
});

test("nothing is drawn of what was not measured", async () => {
  const { figures } = await figuresOf(() => [{ name: "a", losses: [4] }], [1]);
  expect([...figures.keys()]).toEqual([]);
});
