/**
 * Opens 500 seeded mutations of valid model and adapter files in native/fuzz; 10,000 under sanitizers are a command of their
 * own, see native/README.md. The program prints the seed of each file that does not end as it should.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PROJECT_ROOT } from "../../src/native/libraries.js";

const PROGRAM = join(PROJECT_ROOT, "native", "build", "Release", "core_fuzz");

test("500 damaged models and adapters are refused or compute, and never end the process", () => {
  execFileSync(process.execPath, [join(PROJECT_ROOT, "scripts", "build-native.cjs"), "--target", "core_fuzz"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const result = spawnSync(PROGRAM, ["--seed", "0", "--count", "500"], { encoding: "utf8", maxBuffer: 1 << 26 });
  expect(result.status, `${result.stdout.slice(-4000)}${result.stderr.slice(-2000)}`).toBe(0);
  expect(result.stdout).toMatch(/0 problems/u);
  console.log(result.stdout.trim());
}, 600_000);
