/**
 * The report in a real browser, of runs whose client ids, names and settings try to become markup: what it shows, what it does under the
 * pointer and by keyboard, that it fetches nothing, and that axe-core finds no barrier at the width of a phone and of a desk, light and dark.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { browserPath, findBarriers, withBrowser, type BrowserPage } from "../helpers/browser.js";
import { runCli } from "../helpers/run-cli.js";
import { writeRun, type GivenArm } from "../helpers/study-runs.js";

const HOSTILE = `</script><img src=x onerror="document.title='caught'">'"&`;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8");

const armsOf = (seed: number): GivenArm[] =>
  ["F16", "Q4_K_M"].flatMap((precision, place) =>
    ["fedavg", "local"].map((strategy, worse) => {
      const losses = [4, 2 + worse, 1 + worse + 0.1 * place + 0.01 * seed * (place + 1)];
      return { name: `${precision.toLowerCase()}-${strategy}`, precision, strategy, weightBytes: 1000 - 700 * place, losses, clientLosses: { ana: losses, [HOSTILE]: [1, 2, 3], ben: losses.map((loss) => loss + 1) } };
    }),
  );

let folder = "";
let page = "";
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "fedllm-native-report-"));
  const runs = [1, 2, 3, 4].map((seed) => writeRun(join(folder, `run ${String(seed)}`), { seed, arms: armsOf(seed), name: seed === 1 ? HOSTILE : "given" }));
  const { exitCode, stdout } = await runCli(["report", ...runs, "--out", join(folder, "report"), "--title", HOSTILE]);
  expect(exitCode).toBe(0);
  page = join(folder, "report", "index.html");
  expect(stdout).toContain(page);
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test("the folder has the page, tables and figures", () => {
  for (const name of ["tables/quality.tex", "tables/clients.parquet", "figures/answer.svg", "figures/answer.png", "study.json"]) expect(existsSync(join(folder, "report", name))).toBe(true);
  expect(statSync(page).size).toBeLessThan(2e6);
  const study = JSON.parse(readFileSync(join(folder, "report", "study.json"), "utf8")) as { answer: { sentence: string } };
  expect(study.answer.sentence).toContain("Q4_K_M");
});

test("no text of a run becomes markup, and nothing outside is named", () => {
  const html = readFileSync(page, "utf8");
  expect(html).not.toContain("<img");
  expect(html.match(/<script/gu)).toHaveLength(2);
  expect(html.match(/(?:src|href|action|url)\s*[=(]\s*["']?(?:https?:|\/\/)/gu)).toBeNull();
  expect(html).toContain("default-src 'none'");
});

describe.skipIf(browserPath === undefined)("in Chromium (skipped without it)", () => {
  test("it opens with the answer and all figures, asks for nothing, and works by pointer and keyboard", async () => {
    await withBrowser(async (browser) => {
      await browser.show({ width: 1280, height: 900, scheme: "light" });
      await browser.goTo(pathToFileURL(page).href);
      expect(await browser.evaluate("document.querySelector('h1').textContent")).toBe(HOSTILE);
      expect(await browser.evaluate("document.querySelector('.answer').textContent")).toMatch(/^Training on Q4_K_M costs .* and takes 70 % less memory for weights\.$/u);
      expect(await browser.evaluate("document.querySelectorAll('figure svg').length")).toBe(8);
      await checkSorting(browser);
      await checkFilter(browser);
      await checkTooltips(browser);
      await checkClients(browser);
      expect(await browser.evaluate("document.title")).not.toBe("caught");
      expect(browser.complaints).toEqual([]);
      expect(browser.requests).toEqual([pathToFileURL(page).href]);
    });
  });

  test("axe-core finds no barrier, and nothing is wider than the screen", async () => {
    await withBrowser(async (browser) => {
      await browser.show({ width: 360, height: 800, scheme: "light" });
      await browser.goTo(pathToFileURL(page).href);
      for (const hash of ["#answer", "#client=0"]) {
        await browser.evaluate(`location.hash=${JSON.stringify(hash)}`);
        for (const width of [360, 1280]) {
          for (const scheme of ["light", "dark"] as const) {
            await browser.show({ width, height: 900, scheme });
            expect(await browser.evaluate("document.documentElement.scrollWidth-document.documentElement.clientWidth")).toBe(0);
            expect(await findBarriers(browser, axe)).toEqual([]);
          }
        }
      }
      await browser.show({ width: 800, height: 900, scheme: "dark", media: "print" });
      expect(await browser.evaluate("getComputedStyle(document.body).backgroundColor+getComputedStyle(document.querySelector('nav')).display")).toBe("rgb(255, 255, 255)none");
      expect(browser.complaints).toEqual([]);
    });
  });
});

async function checkSorting(browser: BrowserPage): Promise<void> {
  const column = () => browser.evaluate<string[]>("[...document.querySelectorAll('#table-costs tbody td:nth-child(2)')].map(cell=>cell.textContent)");
  const click = "document.querySelector('#table-costs thead th:nth-child(2) button').click()";
  await browser.evaluate(click);
  expect(await column()).toEqual(["300 B", "300 B", "1.0 kB", "1.0 kB"]);
  await browser.evaluate(click);
  expect(await column()).toEqual(["1.0 kB", "1.0 kB", "300 B", "300 B"]);
  expect(await browser.evaluate("document.querySelector('#table-costs thead th:nth-child(2)').ariaSort")).toBe("descending");
}

async function checkFilter(browser: BrowserPage): Promise<void> {
  const shown = () => browser.evaluate<number[]>("[document.querySelectorAll('#figure-heldout-loss-rounds g[data-series=f16-local]')[0].getClientRects().length,[...document.querySelectorAll('#table-costs tbody tr')].filter(row=>!row.hidden).length]");
  expect(await shown()).toEqual([1, 4]);
  await browser.evaluate("document.querySelector('.filter input[value=f16-local]').click()");
  expect(await shown()).toEqual([0, 3]);
  await browser.evaluate("document.querySelector('#show-all').click()");
  expect(await shown()).toEqual([1, 4]);
}

async function checkTooltips(browser: BrowserPage): Promise<void> {
  const figure = "document.querySelector('#figure-answer svg')";
  await browser.evaluate(`${figure}.focus()`);
  await browser.press("ArrowRight");
  const first = await browser.evaluate<string>("document.querySelector('#tip').hidden?'':document.querySelector('#tip').textContent");
  expect(first).toMatch(/^q4_k_m-fedavg: \+0\.1250/u);
  expect(await browser.evaluate("document.querySelector('#status').textContent")).toBe(first);
  await browser.press("ArrowRight");
  expect(await browser.evaluate("document.querySelector('#tip').textContent")).toContain("weights 30 %");
  await browser.press("Escape");
  expect(await browser.evaluate("document.querySelector('#tip').hidden")).toBe(true);
}

async function checkClients(browser: BrowserPage): Promise<void> {
  const links = await browser.evaluate<string[]>("[...document.querySelectorAll('#table-clients tbody a')].map(link=>link.textContent)");
  expect(links).toEqual([HOSTILE, "ana", "ben"]);
  await browser.evaluate("document.querySelector('#table-clients tbody a').click()");
  await browser.waitFor("!document.querySelector('#client-page').hidden");
  expect(await browser.evaluate("document.querySelector('#client-page h2').textContent+document.activeElement.tagName")).toBe(`Client ${HOSTILE}H2`);
  expect(await browser.evaluate("document.querySelector('#client-page tbody td').textContent")).toBe("1.0000 → 3.0000 worse");
  expect(await browser.evaluate("document.querySelector('#content').hidden")).toBe(true);
  await browser.evaluate("history.back()");
  await browser.waitFor("document.querySelector('#client-page').hidden && !document.querySelector('#content').hidden");
}
