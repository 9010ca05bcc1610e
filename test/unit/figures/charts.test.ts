/** Figures whose boxes can be worked out by hand, and texts that must not become markup. */
import { expect, test } from "vitest";
import { barChart, matrixChart, quartileChart, shareChart } from "../../../src/figures/charts.js";
import { escapeText, shorten } from "../../../src/figures/svg.js";

const heading = { name: "n", title: "A title", description: "What is seen" };
const attributes = (svg: string, name: string) => [...svg.matchAll(new RegExp(`<rect[^>]* ${name}="([^"]*)"`, "gu"))].map((match) => match[1] ?? "");

test("bars are as long as their values", () => {
  const { svg } = barChart(heading, [20, 10, 0].map((value) => ({ label: "l", value, shown: String(value) })));
  const [first = 0, second = 0, third = 0] = attributes(svg, "width").map(Number);
  expect([second / first, third]).toEqual([0.5, 0]);
  expect(svg).toContain('<title id="n-title">A title</title><desc id="n-description">What is seen</desc>');
});

test("quartiles lie on the scale of powers of ten, and each power has its line", () => {
  const { svg } = quartileChart(heading, [{ label: "l", quartiles: { min: 0, quartile1: 9, median: 9, quartile3: 99, max: 999 } }]);
  const [x, width] = [attributes(svg, "x").map(Number), attributes(svg, "width").map(Number)];
  const third = (width[0] ?? 0) / 3;
  // All, the middle half, the median's mark of 3 units.
  expect(x).toEqual([124, expect.closeTo(124 + third, 1), expect.closeTo(124 + third - 1.5, 1)]);
  expect(width).toEqual([206, expect.closeTo(third, 1), 3]);
  expect([...svg.matchAll(/class="small">([^<]*)</gu)].map((match) => match[1])).toEqual(["1", "10", "100", "9"]);
  expect(svg.match(/class="grid"/gu)).toHaveLength(3);
});

test("shares of a row lie side by side and fill it; none is drawn for nothing", () => {
  const { svg } = shareChart(heading, ["a", "b", "c"], [{ label: "l", shares: [0.25, 0, 0.75] }]);
  const [x, width] = [attributes(svg, "x"), attributes(svg, "width")].map((values) => values.map(Number).slice(3));
  expect(width?.map((value) => value / ((width[0] ?? 0) + (width[1] ?? 0)))).toEqual([0.25, 0.75]);
  expect((x?.[0] ?? 0) + (width?.[0] ?? 0)).toBe(x?.[1]);
});

test("shades of a matrix go from nothing to the largest value", () => {
  const { svg } = matrixChart(heading, ["a", "b"], [[0, 1], [2, 4]], 4);
  expect(attributes(svg, "fill-opacity")).toEqual(["0", "0.25", "0.5"]);
});

test("names cannot leave their text", () => {
  expect(escapeText('<b a="1">&\u0000')).toBe("&lt;b a=&quot;1&quot;&gt;&amp;\u{FFFD}");
  expect(shorten("abcdef", 4)).toBe("abc…");
  expect(shorten("😀😀😀", 3)).toBe("😀😀😀");
});
