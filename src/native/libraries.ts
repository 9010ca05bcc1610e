/**
 * Chooses the prebuilt llama.cpp libraries for a backend and refuses what does not fit: a missing platform package,
 * a package of another llama.cpp release than the addon's headers, a second set of libraries in the process.
 * Looking packages up is scripts/libraries.cjs, loading them is load.ts.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { PLATFORM_PACKAGES, findNodeLlamaCpp, findPlatformPackage, platformPackageName } from "../../scripts/libraries.cjs";
import { problemError } from "../errors.js";

/** Builds of the llama.cpp libraries; each one can also compute on the CPU. */
export type NativeBackend = "cpu" | "vulkan" | "cuda" | "metal";

/** Folder of our package.json: two levels up both from src/native and from dist/native. */
export const PROJECT_ROOT: string = resolve(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** The libraries of one installed platform package. */
export interface NativeLibraries {
  readonly backend: NativeBackend;
  readonly packageName: string;
  readonly packageVersion: string;
  /** llama.cpp release, for example `v0.4.0`. */
  readonly release: string;
  /** Real path of the folder with llama-addon.node, libllama and the backend modules. */
  readonly binsDir: string;
}

export interface LocateOptions {
  readonly platform?: string;
  readonly arch?: string;
  /** Folder from which packages are searched, as Node would; default: this package. */
  readonly projectRoot?: string;
}

/**
 * Finds the libraries for a backend. Throws NATIVE_UNAVAILABLE when the platform has no such package or it is not
 * installed (the message names package and version), NATIVE_MISMATCH when its release is not the one of our headers.
 */
export function locateLibraries(backend: NativeBackend, options: LocateOptions = {}): NativeLibraries {
  const platform = options.platform ?? process.platform;
  const arch = options.arch ?? process.arch;
  const projectRoot = options.projectRoot ?? PROJECT_ROOT;

  const packageName = platformPackageName(platform, arch, backend);
  if (packageName === undefined) throw unsupportedBackend(backend, `${platform}-${arch}`);
  const nodeLlamaCpp = findNodeLlamaCpp(projectRoot);
  const found = findPlatformPackage(projectRoot, packageName);
  if (found === undefined) {
    const wanted = `${packageName}@${nodeLlamaCpp?.version ?? pinnedNodeLlamaCppVersion()}`;
    throw problemError("NATIVE_UNAVAILABLE", {
      subject: `llama.cpp libraries for ${backend} on ${platform}-${arch}`,
      expected: `the package ${wanted} to be installed`,
      received: "no such package",
      remedy: `Install it with: npm install --no-save ${wanted}`,
    });
  }

  const release = found.release ?? nodeLlamaCpp?.release ?? "unknown";
  const expectedRelease = headersRelease(projectRoot);
  if (expectedRelease !== undefined) checkRelease({ addon: expectedRelease, libraries: release, packageName });
  return { backend, packageName, packageVersion: found.version, release, binsDir: realpathSync(found.binsDir) };
}

/** Throws NATIVE_MISMATCH unless the addon and the libraries come from one llama.cpp release. */
export function checkRelease(releases: { addon: string; libraries: string; packageName: string }): void {
  if (releases.addon === releases.libraries) return;
  throw problemError("NATIVE_MISMATCH", {
    subject: releases.packageName,
    expected: `libraries of llama.cpp ${releases.addon}, which the addon was compiled against`,
    received: `llama.cpp ${releases.libraries}`,
    remedy:
      `Install the node-llama-cpp version that fedllm-native asks for (npm install node-llama-cpp@${pinnedNodeLlamaCppVersion()}), ` +
      "or, in a source checkout, rebuild the addon with: npm run build:native",
  });
}

/** The llama.cpp release our headers were taken from; absent before the first build of a checkout. */
export function headersRelease(projectRoot: string = PROJECT_ROOT): string | undefined {
  const file = join(projectRoot, "native", "deps", "include", "fedllm_llama_release.h");
  if (!existsSync(file)) return undefined;
  return /FEDLLM_LLAMA_RELEASE "([^"]+)"/u.exec(readFileSync(file, "utf8"))?.[1];
}

/** Version of this package. */
export function packageVersion(): string {
  return readPackageJson().version;
}

/** The exact node-llama-cpp version this package depends on. */
export function pinnedNodeLlamaCppVersion(): string {
  return readPackageJson().dependencies["node-llama-cpp"] ?? "unknown";
}

/** Backends that have a package for a platform, whether or not it is installed. */
export function offeredBackends(platformAndArch: string): NativeBackend[] {
  return Object.keys(PLATFORM_PACKAGES[platformAndArch] ?? {}) as NativeBackend[];
}

/**
 * Folders other than `binsDir` from which this process has already loaded libllama or ggml, judging by the paths of
 * its shared objects. Not empty: a second set must not be loaded, since the two would see separate device lists.
 */
export function foreignLibraryFolders(binsDir: string, sharedObjects: readonly string[] = loadedSharedObjects()): string[] {
  const pattern = /^(lib(llama|ggml)\.|lib(ggml-base|llama-common)\.|llama-addon\.node$)/u;
  const folders = sharedObjects
    .filter((file) => pattern.test(file.slice(file.lastIndexOf("/") + 1)))
    .map((file) => dirname(file));
  return [...new Set(folders)].filter((folder) => folder !== binsDir).sort();
}

function loadedSharedObjects(): string[] {
  if (process.platform === "linux") {
    const lines = readFileSync("/proc/self/maps", "utf8").split("\n");
    return [...new Set(lines.map((line) => /\s(\/\S.*)$/u.exec(line)?.[1]).filter((file) => file !== undefined))];
  }
  const report = process.report.getReport() as { sharedObjects?: string[] };
  return report.sharedObjects ?? [];
}

function unsupportedBackend(backend: NativeBackend, platformAndArch: string): Error {
  const offered = offeredBackends(platformAndArch);
  return problemError("NATIVE_UNAVAILABLE", {
    subject: `backend on ${platformAndArch}`,
    expected: offered.length === 0 ? `one of the platforms ${Object.keys(PLATFORM_PACKAGES).join(", ")}` : offered.join(" or "),
    received: offered.length === 0 ? platformAndArch : backend,
    ...(platformAndArch.startsWith("win32") ? { remedy: "Windows is supported through WSL" } : {}),
  });
}

interface OwnPackageJson {
  readonly version: string;
  readonly dependencies: Readonly<Record<string, string>>;
}

function readPackageJson(): OwnPackageJson {
  return JSON.parse(readFileSync(join(PROJECT_ROOT, "package.json"), "utf8")) as OwnPackageJson;
}
