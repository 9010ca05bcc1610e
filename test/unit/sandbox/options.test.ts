/** What is refused before any program is started. */
import { expect, test } from "vitest";
import { completeLimits, DEFAULT_LIMITS, resourceLimits } from "../../../src/sandbox/limits.js";
import { openSandbox } from "../../../src/sandbox/open-sandbox.js";
import { splitCommand } from "../../../src/sandbox/user-command.js";

test("nothing is run without consent, and the message says how to give it", async () => {
  await expect(openSandbox({ allowed: false })).rejects.toMatchObject({ code: "CODE_EXECUTION_REFUSED", message: expect.stringContaining("--allow-code-execution") as string });
});

test("limits and workers that make no sense are refused by name", async () => {
  expect(completeLimits({ timeLimitMs: 500 })).toEqual({ ...DEFAULT_LIMITS, timeLimitMs: 500 });
  for (const limits of [{ timeLimitMs: 0 }, { memoryBytes: 1000 }, { outputBytes: 0.5 }, { fileBytes: Number.NaN }]) {
    expect(() => completeLimits(limits)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID", message: expect.stringContaining(Object.keys(limits)[0] ?? "") as string }) as Error);
  }
  await expect(openSandbox({ allowed: true, numWorkers: 0 })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
  await expect(openSandbox({ allowed: true, command: [] })).rejects.toMatchObject({ code: "CONFIG_INVALID" });
});

test("a candidate's processor time is bounded by the kernel, a checker's is not", () => {
  expect(resourceLimits(DEFAULT_LIMITS, "candidate")).toMatchObject({ AS: 512 * 1024 * 1024, CPU: 8, NPROC: 1, CORE: 0 });
  expect(resourceLimits(DEFAULT_LIMITS, "checker")).not.toHaveProperty("CPU");
});

test("a command line is split at spaces outside of quotes", () => {
  expect(splitCommand("docker run  --rm -i 'my image' --name=\"a b\" x")).toEqual(["docker", "run", "--rm", "-i", "my image", "--name=a b", "x"]);
  expect(() => splitCommand("docker 'run")).toThrow(/closed quotes/u);
});
