/** The remembered choice: made once per device, model and release, the same afterwards, and never read from a damaged file. */
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { NativeKernelVariants } from "../../../src/native/binding.js";
import { rememberVariants } from "../../../src/run/kernel-variants.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const KEY = { device: "CPU", deviceDescription: "some processor", modelSha256: "ab".repeat(32), llamaCppRelease: "v0.4.0" };
const FAST: NativeKernelVariants = { weightProduct: "bf16", transposes: "none" };
const OTHER: NativeKernelVariants = { weightProduct: "f32", transposes: "q8_0" };

function never(): Promise<NativeKernelVariants> {
  return Promise.reject(new Error("timed again"));
}

function fileOf(cacheDir: string): string {
  const folder = join(cacheDir, "kernel-variants");
  const [name, ...more] = readdirSync(folder);
  expect(more).toEqual([]);
  return join(folder, name ?? "");
}

test("a choice is timed once and then remembered", async () => {
  const cacheDir = makeTemporaryFolder();
  expect(await rememberVariants(cacheDir, KEY, () => Promise.resolve(FAST))).toEqual(FAST);
  expect(await rememberVariants(cacheDir, KEY, never)).toEqual(FAST);
});

test("another device, model or release has a choice of its own", async () => {
  const cacheDir = makeTemporaryFolder();
  await rememberVariants(cacheDir, KEY, () => Promise.resolve(FAST));
  for (const change of [{ device: "Vulkan0" }, { deviceDescription: "another" }, { modelSha256: "cd".repeat(32) }, { llamaCppRelease: "v0.5.0" }]) {
    expect(await rememberVariants(cacheDir, { ...KEY, ...change }, () => Promise.resolve(OTHER))).toEqual(OTHER);
  }
  expect(await rememberVariants(cacheDir, KEY, never)).toEqual(FAST);
});

test("of two that time at once both take the choice of the first that wrote", async () => {
  const cacheDir = makeTemporaryFolder();
  const slow = rememberVariants(cacheDir, KEY, async () => {
    // Another process finishes while this one is still timing.
    await rememberVariants(cacheDir, KEY, () => Promise.resolve(FAST));
    return OTHER;
  });
  expect(await slow).toEqual(FAST);
  expect(await rememberVariants(cacheDir, KEY, never)).toEqual(FAST);
});

test("a damaged file is ignored and replaced", async () => {
  const cacheDir = makeTemporaryFolder();
  mkdirSync(join(cacheDir, "kernel-variants"), { recursive: true });
  await rememberVariants(cacheDir, KEY, () => Promise.resolve(OTHER));
  const file = fileOf(cacheDir);
  const whole = readFileSync(file, "utf8");
  for (const damage of ["", "{", whole.slice(0, -20), whole.replace("q8_0", "q9_9"), whole.replace('"version": 1', '"version": 2')]) {
    writeFileSync(file, damage);
    expect(await rememberVariants(cacheDir, KEY, () => Promise.resolve(FAST))).toEqual(FAST);
    expect(await rememberVariants(cacheDir, KEY, never)).toEqual(FAST);
  }
});
