/** A fresh folder per test, removed when the test ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** Path of a new empty folder; call it inside a test. */
export function makeTemporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "fedllm-native-test-"));
  onTestFinished(() => {
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}
