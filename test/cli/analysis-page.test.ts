/** The page of an analysis in a real browser: headless Chromium, at the width of a phone and of a desk, light and dark. */
import { execFile } from "node:child_process";
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { analyzeDataset } from "../../src/analysis/analyze.js";
import { readFederatedDataset } from "../../src/data/dataset.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const BROWSERS = ["chromium", "chromium-browser", "google-chrome"];
const browser = (process.env["PATH"] ?? "").split(delimiter).flatMap((folder) => BROWSERS.map((name) => join(folder, name))).find((path) => existsSync(path));

/** Loads the page in a frame of a width, which headless windows cannot be narrower than, and returns what it measured. */
async function lookAt(folder: string, width: number, scheme: "light" | "dark") {
  const probe = join(folder, `probe-${String(width)}-${scheme}.html`);
  const script = `frame.onload=()=>{const d=frame.contentDocument;document.title=JSON.stringify({
    scroll:d.documentElement.scrollWidth,client:d.documentElement.clientWidth,dark:frame.contentWindow.matchMedia("(prefers-color-scheme:dark)").matches,
    ink:frame.contentWindow.getComputedStyle(d.body).color,paper:frame.contentWindow.getComputedStyle(d.body).backgroundColor,
    figures:[...d.querySelectorAll("figure svg")].map(s=>{const b=s.getBoundingClientRect();return [b.width,b.height,s.querySelectorAll("rect").length,s.querySelector("title").textContent.length]}),
    outside:[...d.querySelectorAll("[src],[href],script,link,img")].length})}`;
  writeFileSync(probe, `<body style="margin:0"><iframe id="frame" src="index.html" style="border:0;width:${String(width)}px;height:900px"></iframe><script>${script}</script></body>`);
  const args = ["--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", `--user-data-dir=${join(folder, "profile")}`, "--enable-logging=stderr", "--virtual-time-budget=5000"];
  const { stdout, stderr } = await promisify(execFile)(browser ?? "", [...args, `--blink-settings=preferredColorScheme=${scheme === "dark" ? "0" : "1"}`, "--dump-dom", `file://${probe}`], { timeout: 60_000 });
  const [, title = "{}"] = /<title>(.*?)<\/title>/su.exec(stdout) ?? [];
  return { errors: stderr.split("\n").filter((line) => line.includes("CONSOLE")), seen: JSON.parse(title) as Record<string, unknown> & { figures: number[][] } };
}

test.skipIf(browser === undefined)("every figure is visible, nothing is wider than the screen, and nothing is fetched (skipped without Chromium)", async () => {
  const folder = makeTemporaryFolder();
  const path = join(folder, "data.json");
  const samples = [{ prompt: "Write a poem about the sea, please.", chosen: "Blue!", rejected: "I cannot do that." }, { prompt: "Name a river.", chosen: "Volga", rejected: "No" }];
  const name = `<script>alert(1)</script>${"w".repeat(300)}`;
  writeFileSync(path, JSON.stringify({ [name]: samples, b: samples.slice(0, 1), 'c"&': samples }));
  const { pagePath } = await analyzeDataset(await readFederatedDataset(path), { out: folder, name });
  const page = readFileSync(pagePath, "utf8");
  expect(page).not.toContain("<script");
  expect(page.match(/https?:\/\/[^"'\s]*/gu)?.every((address) => address === "http://www.w3.org/2000/svg")).toBe(true);
  const files = readdirSync(join(folder, "figures"));
  expect(files.filter((file) => file.endsWith(".png"))).toHaveLength(11);
  for (const file of files) expect(files).toContain(file.endsWith(".png") ? file.replace(".png", ".svg") : file.replace(".svg", ".png"));
  for (const file of files) expect(statSync(join(folder, "figures", file)).size).toBeGreaterThan(500);
  for (const width of [360, 1280]) {
    for (const scheme of ["light", "dark"] as const) {
      const { errors, seen } = await lookAt(folder, width, scheme);
      expect(errors).toEqual([]);
      expect(seen).toMatchObject({ scroll: seen["client"], dark: scheme === "dark", outside: 0 });
      expect([seen["ink"], seen["paper"]]).toEqual(scheme === "dark" ? ["rgb(238, 238, 238)", "rgb(22, 22, 22)"] : ["rgb(27, 27, 27)", "rgb(255, 255, 255)"]);
      // Quantity, languages, three histograms, two lengths by client, types, preferences, two distances.
      expect(seen.figures).toHaveLength(11);
      for (const [figureWidth = 0, height = 0, numBoxes = 0, titleLength = 0] of seen.figures) {
        expect(figureWidth).toBeGreaterThan(width === 360 ? 300 : 390);
        expect(Math.min(height, numBoxes, titleLength)).toBeGreaterThan(0);
        // Text is 13 of the figure's 420 units high: at least 9 pixels.
        expect((13 / 420) * figureWidth).toBeGreaterThan(9);
      }
    }
  }
});
