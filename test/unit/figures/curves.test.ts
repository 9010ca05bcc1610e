/** Charts with many series: every name has its place in the figure, and lines from places to names do not hide the points. */
import { expect, test } from "vitest";
import { lineChart, tradeOffChart } from "../../../src/figures/curves.js";

const format = (value: number) => value.toFixed(2);
const axes = { x: { title: "bytes", format }, y: { title: "loss", format } };
const heading = { name: "figure", title: "many", description: "many series" };
const named = (count: number) => Array.from({ length: count }, (_, index) => ({ label: `arm-${String(index)}`, colour: index % 7, dash: 0, x: index, y: 1 + (index % 3) / 100, isFront: false, points: [{ x: 0, y: 2 }, { x: 1, y: 1 + index / 1000 }] }));

/** Heights of the names, and of the figure. */
function measure(svg: string): { readonly names: readonly number[]; readonly height: number } {
  const names = [...svg.matchAll(/<text x="[\d.]+" y="([\d.-]+)"[^>]*>arm-\d+</gu)].map(([, y]) => Number(y));
  return { names, height: Number(/viewBox="0 0 \d+ (\d+)/u.exec(svg)?.[1]) };
}

test.each([4, 36, 90])("%i names are below each other within the figure", (count) => {
  for (const { svg } of [lineChart(heading, named(count), axes), tradeOffChart(heading, named(count), axes)]) {
    const { names, height } = measure(svg);
    expect(names).toHaveLength(count);
    const sorted = [...names].sort((left, right) => left - right);
    expect(sorted[0]).toBeGreaterThan(8);
    expect(sorted.at(-1)).toBeLessThan(height);
    // Letters are 11 high.
    for (const [index, y] of sorted.entries()) if (index > 0) expect(y - (sorted[index - 1] ?? 0)).toBeGreaterThan(11);
  }
});
