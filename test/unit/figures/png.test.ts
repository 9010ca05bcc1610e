/** Figures as PNG, read by a decoder that is not the renderer's: what is drawn where, in which colours, and sizes that cannot be. */
import { expect, test } from "vitest";
import { barChart, quartileChart } from "../../../src/figures/charts.js";
import { inLightTheme, renderPng } from "../../../src/figures/png.js";
import { decodePng } from "../../helpers/png.js";
import type { Pixels } from "../../helpers/png.js";

const heading = { name: "n", title: "A title", description: "What is seen" };
const { svg } = barChart(heading, [{ label: "Name Жя", value: 10, shown: "ten" }, { label: "half", value: 5, shown: "" }]);

/** Part of the pixels of an area, in units of the figure, for which the test holds. */
function share({ width, data }: Pixels, scale: number, [left, top, right, bottom]: readonly [number, number, number, number], holds: (red: number, green: number, blue: number) => boolean): number {
  let [numHeld, numAll] = [0, 0];
  for (let y = Math.ceil(top * scale); y < bottom * scale; y++) {
    for (let x = Math.ceil(left * scale); x < right * scale; x++) {
      const at = 4 * (y * width + x);
      if (holds(data[at] ?? 0, data[at + 1] ?? 0, data[at + 2] ?? 0)) numHeld++;
      numAll++;
    }
  }
  return numHeld / numAll;
}

const isDark = (red: number, green: number, blue: number) => Math.max(red, green, blue) < 100;
const isBar = (red: number, green: number, blue: number) => red === 0x00 && green === 0x72 && blue === 0xb2;
const isPaper = (red: number, green: number, blue: number) => Math.min(red, green, blue) === 255;

test("text and marks stand where the figure has them, in the light theme's colours", async () => {
  const picture = decodePng(await renderPng(svg));
  // 420 units and two rows of 20 between margins of 8, twice as large.
  expect([picture.width, picture.height]).toEqual([840, 112]);
  // The first bar goes from 124 to 330, the second to half of that; a row's bar is 14 high.
  expect(share(picture, 2, [125, 12, 329, 24], isBar)).toBe(1);
  expect(share(picture, 2, [125, 32, 226, 44], isBar)).toBe(1);
  expect(share(picture, 2, [228, 32, 329, 44], isPaper)).toBe(1);
  // Letters cover some of the area of a label, and none of that to the left of it.
  expect(share(picture, 2, [60, 11, 119, 24], isDark)).toBeGreaterThan(0.05);
  expect(share(picture, 2, [0, 0, 40, 56], isPaper)).toBe(1);
  expect(picture.data.every((value, at) => at % 4 !== 3 || value === 255)).toBe(true);
});

test("letters of each script differ, so that none is an empty box", async () => {
  const draw = async (label: string) => decodePng(await renderPng(barChart(heading, [{ label, value: 1, shown: "" }]).svg)).data;
  const drawn = await Promise.all(["a", "б", "γ", "ع", "ש", "é"].map(draw));
  const missing = await draw("\u{E000}");
  for (const [index, data] of drawn.entries()) {
    for (const other of [...drawn.slice(index + 1), missing]) expect(Buffer.compare(data, other)).not.toBe(0);
  }
});

test("quartiles: a line over all, a fainter box over the middle half, and a mark at the median", async () => {
  const quartiles = { min: 0, quartile1: 9, median: 99, quartile3: 999, max: 9999 };
  const picture = decodePng(await renderPng(quartileChart(heading, [{ label: "l", quartiles }]).svg, { scale: 4 }));
  // Powers of ten from 1 to 10,000 for lengths one larger: a quarter of 206 units each.
  const at = (power: number) => 124 + (206 * power) / 4;
  const line = (from: number, to: number) => share(picture, 4, [from + 2, 17.2, to - 2, 18.8], isBar);
  expect([line(at(0), at(1)), line(at(3), at(4))]).toEqual([1, 1]);
  expect(share(picture, 4, [at(2) - 1.2, 11, at(2) + 1.2, 25], (red, green, blue) => red === 0xd5 && green === 0x5e && blue === 0x00)).toBe(1);
  // Half of the colour over white paper.
  const isHalf = (red: number, green: number, blue: number) => Math.abs(red - 128) <= 1 && Math.abs(green - 184) <= 1 && Math.abs(blue - 217) <= 1;
  expect(share(picture, 4, [at(1) + 2, 13, at(2) - 3, 15.5], isHalf)).toBeGreaterThan(0.95);
  expect(share(picture, 4, [at(3) + 1, 13, at(4) - 2, 15.5], isBar)).toBe(0);
});

test("a width in pixels keeps the form", async () => {
  const { width, height } = decodePng(await renderPng(svg, { width: 1050 }));
  expect([width, height]).toEqual([1050, 140]);
});

test("neither variables nor rules for other themes are left", () => {
  const { text, background } = inLightTheme(svg);
  expect(background).toBe("#fff");
  expect(text).not.toMatch(/var\(|@media|#161616/u);
  expect(text).toContain(".figure .c0{fill:#0072b2}");
});

test.each([[{ width: 0 }], [{ width: -3 }], [{ scale: 0 }], [{ scale: Number.NaN }], [{ width: 100_000 }], [{ scale: 1e9 }], [{ width: Infinity }]])("a size of %j is refused", async (size) => {
  await expect(renderPng(svg, size)).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("size of a PNG") as string });
  // The renderer is still usable.
  expect((await renderPng(svg)).length).toBeGreaterThan(1000);
});

test("what is no SVG is refused", async () => {
  await expect(renderPng("<svg")).rejects.toMatchObject({ code: "CONFIG_INVALID", message: expect.stringContaining("a whole SVG") as string });
});
