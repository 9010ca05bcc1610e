/** Goal: axes have round numbers that enclose all values, and names do not lie on each other. */
import { describe, expect, test } from "vitest";
import { linearScale, logScale, spreadLabels, tickFormat } from "../../../src/figures/axes.js";

describe("a linear scale", () => {
  test("begins and ends at round numbers around all values", () => {
    const scale = linearScale([0.93, 3.5], { from: 100, to: 0 });
    expect(scale.ticks.map(tickFormat(scale))).toEqual(["0", "1", "2", "3", "4"]);
    expect([scale.at(0), scale.at(4), scale.at(3)]).toEqual([100, 0, 25]);
  });

  test("gives a single value room, and knows negative and tiny ones", () => {
    const one = linearScale([5], { from: 0, to: 10 });
    expect(one.at(5)).toBeGreaterThan(0);
    expect(one.at(5)).toBeLessThan(10);
    const tiny = linearScale([-2e-5, 3e-5], { from: 0, to: 10 });
    expect(tiny.ticks.map(tickFormat(tiny))).toEqual(["-0.00002", "-0.00001", "0.00000", "0.00001", "0.00002", "0.00003"]);
    expect(linearScale([0, 0], { from: 0, to: 10 }).ticks.length).toBeGreaterThan(1);
    expect(linearScale([], { from: 0, to: 10 }).ticks.length).toBeGreaterThan(1);
  });
});

test("a logarithmic scale has ticks at powers of ten, and between them where there are few", () => {
  expect(logScale([0.01, 1000], { from: 0, to: 1 }).ticks).toEqual([0.01, 0.1, 1, 10, 100, 1000]);
  const scale = logScale([1, 10], { from: 0, to: 1 });
  expect(scale.ticks).toEqual([1, 2, 5, 10]);
  expect(scale.at(Math.sqrt(10))).toBeCloseTo(0.5, 12);
});

test("names are moved apart no more than needed, in order, and stay inside", () => {
  expect(spreadLabels([10, 50, 12], 10, { from: 0, to: 100 })).toEqual([10, 50, 20]);
  expect(spreadLabels([98, 99, 97], 10, { from: 0, to: 100 })).toEqual([90, 100, 80]);
  expect(spreadLabels([], 10, { from: 0, to: 100 })).toEqual([]);
});
