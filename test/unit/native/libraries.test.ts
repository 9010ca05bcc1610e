/** Package look-up and refusals, on small installations laid out in a temporary folder; no library is loaded. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { isFedllmError } from "../../../src/errors.js";
import {
  checkRelease,
  foreignLibraryFolders,
  locateLibraries,
  offeredBackends,
  pinnedNodeLlamaCppVersion,
} from "../../../src/native/libraries.js";
import type { LocateOptions, NativeBackend } from "../../../src/native/libraries.js";

let projectRoot = "";

beforeEach(() => {
  projectRoot = realpathSync(mkdtempSync(join(tmpdir(), "fedllm-libraries-")));
  writeJson("package.json", { name: "project" });
});

afterEach(() => {
  rmSync(projectRoot, { recursive: true, force: true });
});

function writeFile(path: string, content: string): void {
  const file = join(projectRoot, path);
  mkdirSync(join(file, ".."), { recursive: true });
  writeFileSync(file, content);
}

function writeJson(path: string, content: unknown): void {
  writeFile(path, JSON.stringify(content));
}

function installNodeLlamaCpp(version: string, release: string): void {
  writeJson("node_modules/node-llama-cpp/package.json", { name: "node-llama-cpp", version });
  writeJson("node_modules/node-llama-cpp/llama/binariesGithubRelease.json", { release });
}

/** Lays out a platform package below `parent` and returns its libraries' folder. */
function installPlatformPackage(parent: string, name: string, version: string, release: string): string {
  const root = `${parent}/node_modules/@node-llama-cpp/${name}`;
  writeJson(`${root}/package.json`, { name: `@node-llama-cpp/${name}`, version });
  writeFile(`${root}/bins/${name}/llama-addon.node`, "");
  writeJson(`${root}/bins/${name}/_nlcBuildMetadata.json`, { buildOptions: { llamaCpp: { release } } });
  return join(projectRoot, root, "bins", name);
}

function writeHeaders(release: string): void {
  writeFile("native/deps/include/fedllm_llama_release.h", `#define FEDLLM_LLAMA_RELEASE "${release}"\n`);
}

function locate(backend: NativeBackend, options: LocateOptions = {}): unknown {
  try {
    return locateLibraries(backend, { projectRoot, platform: "linux", arch: "x64", ...options });
  } catch (error) {
    return error;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : "";
}

describe("locateLibraries", () => {
  test("finds the platform package beside node-llama-cpp and reads its release", () => {
    installNodeLlamaCpp("3.21.1", "v0.4.0");
    writeHeaders("v0.4.0");
    const binsDir = installPlatformPackage(".", "linux-x64", "3.21.1", "v0.4.0");
    expect(locate("cpu")).toEqual({
      backend: "cpu",
      packageName: "@node-llama-cpp/linux-x64",
      packageVersion: "3.21.1",
      release: "v0.4.0",
      binsDir,
    });
  });

  test("prefers the package that node-llama-cpp itself would load over the one at the top", () => {
    installNodeLlamaCpp("3.21.1", "v0.4.0");
    installPlatformPackage(".", "linux-x64", "3.22.1", "v0.5.0");
    const nested = installPlatformPackage("node_modules/node-llama-cpp", "linux-x64", "3.21.1", "v0.4.0");
    expect(locate("cpu")).toMatchObject({ binsDir: nested, release: "v0.4.0" });
  });

  test("names package and version to install when the platform package is missing", () => {
    installNodeLlamaCpp("3.21.1", "v0.4.0");
    const error = locate("vulkan");
    expect(isFedllmError(error, "NATIVE_UNAVAILABLE")).toBe(true);
    expect(messageOf(error)).toContain("npm install --no-save @node-llama-cpp/linux-x64-vulkan@3.21.1");
  });

  test("names our pinned version when node-llama-cpp is missing as well", () => {
    expect(messageOf(locate("cpu"))).toContain(`@node-llama-cpp/linux-x64@${pinnedNodeLlamaCppVersion()}`);
  });

  test("refuses libraries of another release than the headers, naming both", () => {
    installNodeLlamaCpp("3.22.1", "v0.5.0");
    installPlatformPackage(".", "linux-x64", "3.22.1", "v0.5.0");
    writeHeaders("v0.4.0");
    const error = locate("cpu");
    expect(isFedllmError(error, "NATIVE_MISMATCH")).toBe(true);
    expect(messageOf(error)).toMatch(/v0\.4\.0.*v0\.5\.0/u);
  });

  test("lists what the platform offers when the backend does not exist there", () => {
    const error = locate("metal");
    expect(isFedllmError(error, "NATIVE_UNAVAILABLE")).toBe(true);
    expect(messageOf(error)).toContain("expected cpu or vulkan or cuda, received metal");
  });

  test("refuses Windows and points to WSL", () => {
    const error = locate("cpu", { platform: "win32" });
    expect(isFedllmError(error, "NATIVE_UNAVAILABLE")).toBe(true);
    expect(messageOf(error)).toContain("WSL");
  });
});

test("Apple silicon serves the CPU from its Metal package", () => {
  installNodeLlamaCpp("3.21.1", "v0.4.0");
  installPlatformPackage(".", "mac-arm64-metal", "3.21.1", "v0.4.0");
  expect(locate("cpu", { platform: "darwin", arch: "arm64" })).toMatchObject({
    packageName: "@node-llama-cpp/mac-arm64-metal",
  });
  expect(offeredBackends("darwin-arm64")).toEqual(["cpu", "metal"]);
});

test("equal releases pass and unequal ones are refused by code", () => {
  expect(() => {
    checkRelease({ addon: "v0.4.0", libraries: "v0.4.0", packageName: "p" });
  }).not.toThrow();
  expect(() => {
    checkRelease({ addon: "v0.4.0", libraries: "v0.5.0", packageName: "p" });
  }).toThrow(expect.objectContaining({ code: "NATIVE_MISMATCH" }));
});

describe("foreignLibraryFolders", () => {
  const own = "/p/linux-x64";

  test("is empty when every llama.cpp library comes from our folder", () => {
    const sharedObjects = [`${own}/libllama.v0.4.0.so`, `${own}/libggml-base.so`, "/usr/lib/libc.so.6"];
    expect(foreignLibraryFolders(own, sharedObjects)).toEqual([]);
  });

  test("names each other folder once", () => {
    const sharedObjects = [
      `${own}/libggml-base.so`,
      "/p/linux-x64-cuda/libllama.cuda.v0.4.0.so",
      "/p/linux-x64-cuda/libggml.cuda.v0.4.0.so",
      "/p/other/libllama-common.so",
    ];
    expect(foreignLibraryFolders(own, sharedObjects)).toEqual(["/p/linux-x64-cuda", "/p/other"]);
  });

  test("ignores backend modules, which may come from an extension package, and other names", () => {
    const sharedObjects = ["/p/cuda-ext/libggml-cuda.so", "/p/x/libllamafile.so", "/p/x/my-libggml.so"];
    expect(foreignLibraryFolders(own, sharedObjects)).toEqual([]);
  });
});
