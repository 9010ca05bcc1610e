/**
 * Runs the core's backend tests on Vulkan, on the software driver where there is no GPU. Only when FEDLLM_TEST_VULKAN=1 says
 * that a sound driver is installed (Mesa 25 or later: Debian bookworm's own 22.3 crashes), as .ci/run does.
 */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PROJECT_ROOT, locateLibraries } from "../../src/native/libraries.js";

const PROGRAM = join(PROJECT_ROOT, "native", "build", "Release", "core_test");
/** The software driver compiles every shader at first use, which took five minutes on two cores; later runs find them in Mesa's cache. */
const TIMEOUT_MS = 1_200_000;
const TITLES = [
  "backends: the device gives the CPU's loss and gradient for a quantized base",
  "backends: the device gives the CPU's loss and gradient under dropout",
  "backends: groups, smoothed labels, noise and preferences give the CPU's loss and gradient on the device",
];

for (const title of TITLES) {
  test(`Vulkan: ${title}`, { timeout: TIMEOUT_MS }, (context) => {
    if (process.env["FEDLLM_TEST_VULKAN"] !== "1") context.skip("FEDLLM_TEST_VULKAN=1 is not set");
    const { binsDir } = locateLibraries("vulkan");
    const result = spawnSync(PROGRAM, ["--libs", binsDir, "--device", "Vulkan0", title], {
      encoding: "utf8",
      // ggml leaves drivers that run on the CPU out unless the device is named.
      env: { ...process.env, GGML_VK_VISIBLE_DEVICES: "0" },
    });
    const verdict = result.stdout.split("\n").find((line) => line.includes(title));
    expect(verdict, result.stderr.slice(-2000)).toMatch(/^ok /u);
    console.log(verdict);
  });
}
