/** The live page: who may ask for it, that it changes nothing, and that a browser shows a real run from before its first round to its end. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { LiveStudy } from "../../src/report/dashboard/live-study.js";
import { startDashboard } from "../../src/report/dashboard/server.js";
import { browserPath, findBarriers, withBrowser } from "../helpers/browser.js";
import { runCli } from "../helpers/run-cli.js";
import { writeRun } from "../helpers/study-runs.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core"), "utf8");

async function start(names: readonly string[]) {
  const dashboard = await startDashboard(new LiveStudy(names), { host: "127.0.0.1", port: 0, lookEveryMs: 100 });
  onTestFinished(async () => dashboard.stop());
  return dashboard;
}

/** Sends a path as it is, which fetch would tidy up before. */
async function ask(url: string, path: string, options: { readonly method?: string; readonly headers?: Readonly<Record<string, string>> } = {}) {
  const { hostname, port } = new URL(url);
  return new Promise<{ status: number; text: string; headers: NodeJS.Dict<string | string[]> }>((resolve, reject) => {
    const sent = request({ hostname, port, path, ...options }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, text, headers: response.headers });
      });
    });
    sent.on("error", reject);
    sent.end();
  });
}

test("only the two addresses below the token are answered, and only for this machine", async () => {
  const { url } = await start([writeRun(join(makeTemporaryFolder(), "run"), { seed: 1, arms: [{ name: "a", losses: [2, 1] }] })]);
  const { pathname, host } = new URL(url);
  const page = await ask(url, pathname);
  expect([page.status, page.headers["cache-control"], page.headers["content-security-policy"]]).toEqual([200, "no-store", "frame-ancestors 'none'"]);
  const wrong = `${pathname.slice(0, -2)}${pathname.at(-2) === "A" ? "B" : "A"}/`;
  for (const path of ["/", "//", wrong, pathname.slice(0, -1), `${wrong}events`, `${pathname}run.json`, `${pathname}../run.json`, `${pathname}..%2frun.json`, `${pathname}%2e%2e/metrics.sqlite`, `/x${pathname}`, `${pathname}?a`, "/etc/passwd"]) {
    expect([path, (await ask(url, path)).status]).toEqual([path, 404]);
  }
  expect((await ask(url, pathname, { headers: { Host: `evil.example:${new URL(url).port}` } })).status).toBe(403);
  expect((await ask(url, pathname, { headers: { Host: host, "Sec-Fetch-Site": "cross-site" } })).status).toBe(403);
  for (const method of ["POST", "PUT", "DELETE"]) expect((await ask(url, pathname, { method })).status).toBe(405);
  await expect(startDashboard(new LiveStudy([]), { host: "0.0.0.0", port: 0 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  await expect(startDashboard(new LiveStudy([]), { host: "127.0.0.1", port: Number(new URL(url).port) })).rejects.toMatchObject({ code: "IO_FAILED" });
});

test("looking changes no file, and a folder that cannot be read hides no other", async () => {
  const parent = makeTemporaryFolder();
  const folder = writeRun(join(parent, "good"), { seed: 1, arms: [{ name: "a", losses: [2, 1] }] });
  const bad = writeRun(join(parent, "bad"), { seed: 2, arms: [{ name: "a", losses: [2, 1] }] });
  const contents = () => readdirSync(folder).sort().map((name) => `${name} ${createHash("sha256").update(readFileSync(join(folder, name))).digest("hex")}`);
  const before = contents();
  writeFileSync(join(bad, "metrics.sqlite"), "this is no database, whatever its name says");
  const { url } = await start([parent]);
  const { text } = await ask(url, new URL(url).pathname);
  expect(text).toContain("good");
  expect(text).toContain("left out:");
  expect(contents()).toEqual(before);
});

test.skipIf(browserPath === undefined)("a browser shows a run from before its first round to its end without loading the page again (skipped without Chromium)", async () => {
  const folder = makeTemporaryFolder();
  const { file } = writeTinyExperiment(folder, ["evaluation: {every: 1}"]);
  const { url } = await start([join(folder, "runs")]);
  await withBrowser(async (browser) => {
    await browser.show({ width: 1000, height: 800, scheme: "light" });
    await browser.goTo(url);
    expect(await browser.evaluate("document.querySelector('#live').textContent")).toBe("No run has begun yet.");
    await browser.evaluate("window.mark='the same page'");
    await browser.waitFor("document.querySelector('#connection').textContent==='live'");
    const run = runCli(["run", file, "--num-rounds", "30", "--out", join(folder, "runs", "live"), "--quiet"]);
    // In the middle of it: some rounds are there, and the run is at work.
    await browser.waitFor("document.querySelector('.state')?.textContent==='running' && document.querySelector('progress').value>0", 60_000);
    await browser.evaluate("document.querySelector('#table-runs thead button').click()");
    expect(await browser.evaluate("document.querySelector('progress').value<document.querySelector('progress').max")).toBe(true);
    expect((await run).exitCode).toBe(0);
    await browser.waitFor("document.querySelector('.state').textContent==='finished'", 30_000);
    expect(await browser.evaluate("window.mark")).toBe("the same page");
    expect(await browser.evaluate("document.querySelector('#table-runs th[aria-sort]').ariaSort")).toBe("ascending");
    expect(await browser.evaluate("document.querySelectorAll('#table-quality tbody tr').length")).toBe(3);
    expect(await browser.evaluate("document.querySelector('progress').value")).toBe(60);
    expect(await browser.evaluate("document.querySelectorAll('a[href*=gguf]').length")).toBe(0);
    expect(await findBarriers(browser, axe)).toEqual([]);
    expect(browser.complaints).toEqual([]);
    expect(browser.requests.every((address) => address.startsWith(url))).toBe(true);
    expect(browser.requests.length).toBeGreaterThan(3);
  });
});
