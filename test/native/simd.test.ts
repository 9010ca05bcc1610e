/**
 * Kernels compiled for a special instruction set must not bring inline functions that the linker could share with code
 * for every processor: a std::vector function compiled for AVX-512 would end the program on an older one.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";

const PROJECT_ROOT = resolve(import.meta.dirname, "..", "..");
const BUILD_DIR = join(PROJECT_ROOT, "native", "build");
const isTestable = process.arch === "x64" && process.platform === "linux" && spawnSync("nm", ["--version"]).status === 0;

test.runIf(isTestable)("objects for AVX2 and AVX-512 define no symbol that other objects could share", () => {
  const script = join(PROJECT_ROOT, "scripts", "build-native.cjs");
  execFileSync(process.execPath, [script, "--target", "core"], { stdio: ["ignore", "pipe", "inherit"] });
  const objects = readdirSync(BUILD_DIR, { recursive: true, encoding: "utf8" }).filter((file) =>
    /core_avx(2|512)\.dir.*\.o$/u.test(file),
  );
  expect(objects.length).toBeGreaterThanOrEqual(2);
  for (const object of objects) {
    const symbols = execFileSync("nm", ["--demangle", join(BUILD_DIR, object)], { encoding: "utf8" }).split("\n");
    // W and V mark weak definitions, u unique ones: the kinds of which the linker keeps one for the whole program.
    expect(symbols.filter((line) => /^[0-9a-f]+ [WVu] /u.test(line)), object).toEqual([]);
  }
});
