import { homedir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readEnvironment } from "../../../src/config/environment.js";

describe("readEnvironment", () => {
  test("takes the addon path and the cache folder from their variables", () => {
    const environment = readEnvironment({ FEDLLM_NATIVE_PATH: "/a/x.node", FEDLLM_CACHE_DIR: "/c" }, "linux");
    expect(environment).toEqual({ nativePath: "/a/x.node", cacheDir: "/c", noColor: false, isCi: false });
  });

  test("treats an empty variable as not set", () => {
    const environment = readEnvironment({ FEDLLM_NATIVE_PATH: "", FEDLLM_CACHE_DIR: "", NO_COLOR: "" }, "linux");
    expect(environment.nativePath).toBeUndefined();
    expect(environment.noColor).toBe(false);
    expect(environment.cacheDir).toBe(join(homedir(), ".cache", "fedllm-native"));
  });

  test("follows XDG_CACHE_HOME on Linux and the Library folder on macOS", () => {
    expect(readEnvironment({ XDG_CACHE_HOME: "/x" }, "linux").cacheDir).toBe(join("/x", "fedllm-native"));
    expect(readEnvironment({ XDG_CACHE_HOME: "/x" }, "darwin").cacheDir).toBe(
      join(homedir(), "Library", "Caches", "fedllm-native"),
    );
  });

  test("reads CI=1 and CI=true as yes, CI=false and CI=0 as no", () => {
    expect(["1", "true", "false", "0"].map((value) => readEnvironment({ CI: value }).isCi)).toEqual([
      true,
      true,
      false,
      false,
    ]);
  });
});
