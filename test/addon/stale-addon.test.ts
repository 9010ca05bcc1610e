/** An addon that was built from other sources of the boundary than those beside the program is refused before it is loaded. */
import { cpSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ensureAddon } from "../../src/native/build.js";
import { PROJECT_ROOT } from "../../src/native/libraries.js";
import { loadNative, openAddon } from "../../src/native/load.js";
import { builtFrom, sourcesHash } from "../../src/native/stale.js";
import { makeTestFolder } from "../helpers/native.js";

const folder = makeTestFolder();
const addonPath = join(PROJECT_ROOT, "native", "build", "Release", "fedllm_native.node");
const environment = (nativePath: string) => ({ nativePath, cacheDir: folder, noColor: true, isCi: false });

/** A copy of the addon whose mark is changed. */
function copyWith(name: string, change: (hash: string) => string): string {
  const hash = builtFrom(addonPath) ?? "";
  const bytes = Buffer.from(readFileSync(addonPath));
  bytes.write(change(hash), bytes.indexOf(hash), "latin1");
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const stale = copyWith("stale.node", (hash) => (hash.startsWith("0") ? "1" : "0"));
const silent = copyWith("silent.node", () => "no hash at all");

test("the build and the program make the same hash of the same sources", () => {
  expect(builtFrom(addonPath)).toMatch(/^[0-9a-f]{64}$/u);
  expect(builtFrom(addonPath)).toBe(sourcesHash(PROJECT_ROOT));
  expect(builtFrom(silent)).toBeUndefined();
});

test("a changed, renamed or new source is another hash; without sources there is none", () => {
  const root = join(folder, "copy");
  const copy = join(root, "native", "addon");
  mkdirSync(copy, { recursive: true });
  expect(sourcesHash(root)).toBeUndefined();
  cpSync(join(PROJECT_ROOT, "native", "addon"), copy, { recursive: true });
  const before = sourcesHash(root);
  expect(before).toBe(sourcesHash(PROJECT_ROOT));
  writeFileSync(join(copy, "notes.txt"), "not compiled");
  expect(sourcesHash(root)).toBe(before);
  const seen = new Set([before]);
  writeFileSync(join(copy, "new.h"), "");
  seen.add(sourcesHash(root));
  renameSync(join(copy, "new.h"), join(copy, "other.h"));
  seen.add(sourcesHash(root));
  writeFileSync(join(copy, "other.h"), " ");
  seen.add(sourcesHash(root));
  expect(seen.size).toBe(4);
});

test.each([["of other sources", stale], ["that does not say", silent]])("an addon %s is refused with the way to build it", async (_, nativePath) => {
  const refusal = { code: "NATIVE_MISMATCH", message: expect.stringContaining("Build it again with: npm run build:native") as string };
  expect(() => loadNative({ environment: environment(nativePath) })).toThrow(expect.objectContaining(refusal) as Error);
  await expect(ensureAddon({ environment: environment(nativePath) })).rejects.toMatchObject(refusal);
});

test("one in the cache counts as not there, so that it is built again", () => {
  const native = loadNative();
  expect(() => openAddon([{ source: "cache", path: stale }])).toThrow(
    expect.objectContaining({ code: "NATIVE_UNAVAILABLE", message: expect.stringContaining("stale.node: built from other sources") as string }) as Error,
  );
  expect(openAddon([{ source: "cache", path: stale }, { source: "checkout", path: addonPath }]).addonPath).toBe(addonPath);
  expect(native.addon.sources).toBe(`fedllm-addon-sources:${sourcesHash(PROJECT_ROOT) ?? ""}`);
});
