/**
 * A part of the demonstration on Vulkan, from the command line to the saved adapter, beside the same on the CPU. Only when
 * FEDLLM_TEST_VULKAN=1 says that a sound driver is installed, as in test/native/vulkan.test.ts.
 */
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { openMetricsDatabase } from "../../src/metrics/database.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

const TIMEOUT_MS = 1_200_000;
/** The driver computes a hundred times slower than the core on the CPU: few rounds, clients and samples. */
const SHORT = [
  ..."--precisions Q4_K_M --strategies fedavg --num-rounds 2 --clients-per-round 2 --local-steps 4".split(" "),
  ..."--set evaluation.maxSamplesPerClient=1 --set training.batchSize=4 --quiet".split(" "),
];

const HELD_OUT_FILE = resolve(import.meta.dirname, "..", "..", "experiments", "demo", "data", "demo-heldout.json");
/** One sample in so many, since they come in the order of languages and tasks. */
const HELD_OUT_STRIDE = 5;

function writeHeldOutSample(path: string): void {
  const samples = JSON.parse(readFileSync(HELD_OUT_FILE, "utf8")) as unknown[];
  writeFileSync(path, JSON.stringify(samples.filter((_, index) => index % HELD_OUT_STRIDE === 0)));
}

/** Held-out loss by round, the base model's first. */
function readLosses(folder: string): readonly number[] {
  const database = openMetricsDatabase(join(folder, "metrics.sqlite"), { readonly: true });
  try {
    return database
      .prepare<[], number>("SELECT value FROM evaluations WHERE metric = 'heldout_loss' AND client_id IS NULL AND arm LIKE '%fedavg' ORDER BY round")
      .pluck()
      .all();
  } finally {
    database.close();
  }
}

test("the demonstration's rounds on Vulkan lower the loss as they do on the CPU", { timeout: TIMEOUT_MS }, async (context) => {
  if (process.env["FEDLLM_TEST_VULKAN"] !== "1") context.skip("FEDLLM_TEST_VULKAN=1 is not set");
  const folder = makeTemporaryFolder();
  const heldOut = join(folder, "held-out.json");
  writeHeldOutSample(heldOut);
  const losses: (readonly number[])[] = [];
  for (const device of ["cpu", "vulkan:0"]) {
    const out = join(folder, device.slice(0, 3));
    const result = await runCli(["run", "--device", device, "--out", out, "--held-out", heldOut, ...SHORT], {
      env: { GGML_VK_VISIBLE_DEVICES: "0", GGML_VK_DISABLE_F16: "1", LP_NATIVE_VECTOR_WIDTH: "256" },
    });
    expect(result.exitCode, result.stderr).toBe(0);
    expect(readdirSync(join(out, "adapters")).length).toBeGreaterThan(0);
    losses.push(readLosses(out));
  }
  const [expected = [], received = []] = losses;
  console.log(`held-out loss by round: CPU ${expected.join(", ")}; Vulkan ${received.join(", ")}`);
  expect(expected.length).toBe(received.length);
  expect(expected.length).toBeGreaterThan(1);
  const fall = (expected[0] ?? 0) - (expected.at(-1) ?? 0);
  expect(fall).toBeGreaterThan(0.5);
  // Products with quantized weights round activations to eight bits there, and the first steps of Adam turn small differences of
  // gradients into steps of full size.
  for (const [round, loss] of received.entries()) expect(Math.abs(loss - (expected[round] ?? NaN))).toBeLessThan(0.05 * fall);
});
