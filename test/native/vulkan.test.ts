/**
 * Runs the core's backend tests on Vulkan, on the software driver where there is no GPU. Only when FEDLLM_TEST_VULKAN=1 says
 * that a sound driver is installed (Mesa 25 or later: Debian bookworm's own 22.3 crashes), as .ci/run does.
 *
 * Nearly all of the time goes into compiling shaders, some 15 seconds for each kind of matrix product and weight type; a shader
 * is compiled once and then found in Mesa's cache. Compiling takes one thread, so as many programs run at once as there
 * are processors, after a first one that leaves the shaders that all use in the cache.
 */
import { execFileSync, spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { PROJECT_ROOT, locateLibraries } from "../../src/native/libraries.js";

const PROGRAM = join(PROJECT_ROOT, "native", "build", "Release", "core_test");
/** For all tests together: they are started at once and the first one that is looked at waits longest. */
const TIMEOUT_MS = 1_200_000;
const IS_CHOSEN = process.env["FEDLLM_TEST_VULKAN"] === "1";

interface DeviceTest {
  readonly title: string;
  readonly environment: Readonly<Record<string, string>>;
}

/** In 32-bit arithmetic and for narrower vectors the driver compiles several times faster; one test takes the 16-bit arithmetic of GPUs. */
const SHORTER_SHADERS = { GGML_VK_DISABLE_F16: "1", LP_NATIVE_VECTOR_WIDTH: "256" };
const WITH_16_BITS = "backends: the device gives the CPU's loss and gradient for a quantized base";
const FIRST = "backends: weights of type f32 ";
/** Tests that are not about a device, as the program skips them without one, are run by core.test.ts. */
const DEVICE_TITLES = /^backends: |on the device|: on a device|: the device|planner: stored/u;
/** Ranks up to eight make products that this driver compiles for minutes each; run by hand. */
const BY_HAND = "ranks that make narrow products";

function deviceTests(): readonly DeviceTest[] {
  const titles = execFileSync(PROGRAM, ["--list"], { encoding: "utf8" }).trim().split("\n");
  return titles
    .filter((title) => DEVICE_TITLES.test(title) && !title.includes(BY_HAND))
    .map((title) => ({ title, environment: title === WITH_16_BITS ? {} : SHORTER_SHADERS }));
}

/** What the core's test program printed about this test: one line, or what it left on standard error. */
async function runDeviceTest({ title, environment }: DeviceTest, binsDir: string): Promise<string> {
  const child = spawn(PROGRAM, ["--libs", binsDir, "--device", "Vulkan0", title], {
    // ggml leaves drivers that run on the CPU out unless the device is named.
    env: { ...process.env, GGML_VK_VISIBLE_DEVICES: "0", ...environment },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on("data", (part: Buffer) => output.push(part));
  child.stderr.on("data", (part: Buffer) => errors.push(part));
  const code = await new Promise((resolve) => child.on("close", resolve));
  const line = Buffer.concat(output).toString().split("\n").find((text) => text.includes(title));
  return line ?? `ended with ${String(code)}: ${Buffer.concat(errors).toString().slice(-2000)}`;
}

/** The tests' lines by title, each of them a promise: the first test alone, then as many at once as there are processors. */
function startDeviceTests(tests: readonly DeviceTest[], binsDir: string): ReadonlyMap<string, Promise<string>> {
  const first = tests.find(({ title }) => title.startsWith(FIRST));
  if (first === undefined) throw new Error(`core_test has no test that begins with ${FIRST}`);
  const line = runDeviceTest(first, binsDir);
  const lines = new Map([[first.title, line]]);
  const lanes = Array.from({ length: availableParallelism() }, () => line);
  // In turn to the lanes, last of all the one with shaders of its own, which takes longest.
  const others = tests.filter((one) => one !== first).sort((a, b) => Number(a.title === WITH_16_BITS) - Number(b.title === WITH_16_BITS));
  for (const [index, one] of others.entries()) {
    const lane = index % lanes.length;
    const next = (lanes[lane] ?? line).then(() => runDeviceTest(one, binsDir));
    lanes[lane] = next;
    lines.set(one.title, next);
  }
  return lines;
}

const tests = deviceTests();
const lines = IS_CHOSEN ? startDeviceTests(tests, locateLibraries("vulkan").binsDir) : new Map<string, Promise<string>>();

for (const { title } of tests) {
  test(`Vulkan: ${title}`, { timeout: TIMEOUT_MS }, async (context) => {
    if (!IS_CHOSEN) context.skip("FEDLLM_TEST_VULKAN=1 is not set");
    const line = await lines.get(title);
    expect(line).toMatch(/^ok /u);
    console.log(line);
  });
}
