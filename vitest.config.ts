/**
 * Test projects, one per folder of test/. Files run side by side, as many as there are cores, each in a process of its own, since the llama.cpp
 * backends are process-global; tests of the core and of the addon run one file at a time, since they use all cores themselves. Groups run one
 * after the other.
 */
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { defineConfig } from "vitest/config";
import type { TestProjectConfiguration } from "vitest/config";

interface ProjectOptions {
  readonly name: string;
  readonly groupOrder: number;
  readonly testTimeoutMs: number;
  readonly parallel?: boolean;
}

function project(options: ProjectOptions): TestProjectConfiguration {
  return {
    extends: true,
    test: {
      name: options.name,
      include: [`test/${options.name}/**/*.test.ts`],
      testTimeout: options.testTimeoutMs,
      hookTimeout: options.testTimeoutMs,
      sequence: { groupOrder: options.groupOrder },
      // The default leaves a core free, which of two is half.
      ...(options.parallel === true ? { maxWorkers: availableParallelism() } : { fileParallelism: false, maxWorkers: 1 }),
    },
  };
}

export default defineConfig({
  resolve: {
    // The package by its own names is its sources here, as in tsconfig.json.
    alias: [
      { find: /^fedllm-native$/, replacement: resolve(import.meta.dirname, "src/index.ts") },
      { find: /^fedllm-native\/contract$/, replacement: resolve(import.meta.dirname, "src/contract/index.ts") },
    ],
  },
  test: {
    pool: "forks",
    passWithNoTests: true,
    coverage: { include: ["src/**"] },
    projects: [
      project({ name: "unit", groupOrder: 0, testTimeoutMs: 20_000, parallel: true }),
      project({ name: "contract", groupOrder: 0, testTimeoutMs: 20_000, parallel: true }),
      project({ name: "native", groupOrder: 1, testTimeoutMs: 600_000 }),
      project({ name: "addon", groupOrder: 2, testTimeoutMs: 120_000 }),
      project({ name: "integration", groupOrder: 3, testTimeoutMs: 300_000, parallel: true }),
      project({ name: "cli", groupOrder: 3, testTimeoutMs: 300_000, parallel: true }),
      // Programs have two seconds there, of which another file would take its part.
      project({ name: "sandbox", groupOrder: 4, testTimeoutMs: 300_000 }),
      project({ name: "packaging", groupOrder: 5, testTimeoutMs: 600_000 }),
    ],
  },
});
