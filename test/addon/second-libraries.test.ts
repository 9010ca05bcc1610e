/** A file of its own: it loads a copy of the libraries, after which nothing else can be loaded in this process. */
import { cpSync, mkdtempSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { locateLibraries } from "../../src/native/libraries.js";
import { loadNative } from "../../src/native/load.js";

test("a second set of llama.cpp libraries in the process is refused, naming both folders", () => {
  const { binsDir } = locateLibraries("cpu");
  const copy = realpathSync(mkdtempSync(join(tmpdir(), "fedllm-second-libraries-")));
  for (const name of readdirSync(binsDir).filter((file) => !file.startsWith("libggml-cpu"))) {
    cpSync(join(binsDir, name), join(copy, name));
  }
  process.dlopen({ exports: {} }, join(copy, "llama-addon.node"), constants.dlopen.RTLD_NOW);

  expect(() => loadNative()).toThrow(
    expect.objectContaining({ code: "NATIVE_MISMATCH", message: expect.stringContaining(copy) as string }),
  );
  expect(() => loadNative()).toThrow(binsDir);
  rmSync(copy, { recursive: true });
});
