/**
 * Loads the addon into this process: first the prebuilt libraries with globally visible symbols, then the addon, whose
 * llama.cpp symbols bind to them. node-llama-cpp loads the very same files, so generation and training share one process.
 * One set of libraries per process; another one is refused. Building a missing addon is build.ts.
 */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { useForLongVectors } from "../adapter/arithmetic.js";
import { readEnvironment } from "../config/environment.js";
import type { Environment } from "../config/environment.js";
import { problemError } from "../errors.js";
import type { NativeAddon, NativeDevice } from "./binding.js";
import { PROJECT_ROOT, checkRelease, foreignLibraryFolders, locateLibraries, packageVersion } from "./libraries.js";
import type { NativeBackend, NativeLibraries } from "./libraries.js";
import { builtFrom, sourcesHash } from "./stale.js";

/** The addon in this process and what it is bound to. */
export interface LoadedNative {
  readonly addon: NativeAddon;
  readonly devices: readonly NativeDevice[];
  /** llama.cpp release of addon and libraries. */
  readonly release: string;
  readonly variant: NativeBackend;
  readonly binsDir: string;
  readonly addonPath: string;
}

export interface LoadOptions {
  /** Default: the CPU libraries (on Apple silicon they are the Metal ones). */
  readonly backend?: NativeBackend;
  readonly environment?: Environment;
}

/** A place where the addon may be, in the order of the search. */
export interface AddonCandidate {
  readonly source: "environment" | "checkout" | "prebuild" | "cache";
  readonly path: string;
}

/** Process-global, as the libraries are. */
let loaded: LoadedNative | undefined;

/**
 * Loads the addon, or returns the one already loaded. Throws NATIVE_UNAVAILABLE when libraries or addon are missing,
 * NATIVE_MISMATCH when releases differ, the addon is built from other sources, or other libraries are already in the process.
 */
export function loadNative(options: LoadOptions = {}): LoadedNative {
  const libraries = locateLibraries(options.backend ?? "cpu");
  if (loaded?.binsDir === libraries.binsDir) return loaded;
  refuseSecondVariant(libraries);
  const candidates = addonCandidates(options.environment ?? readEnvironment(), libraries.release);

  openLibrary(join(libraries.binsDir, "llama-addon.node"));
  const { addon, addonPath } = openAddon(candidates);
  checkRelease({ addon: addon.llamaCppRelease, libraries: libraries.release, packageName: libraries.packageName });
  const devices = addon.initBackends(libraries.binsDir);
  useForLongVectors(addon.arithmetic);
  loaded = {
    addon,
    devices,
    release: addon.llamaCppRelease,
    variant: libraries.backend,
    binsDir: libraries.binsDir,
    addonPath,
  };
  return loaded;
}

/** The build of the libraries that this process has loaded with the addon; undefined before. */
export function loadedBackend(): NativeBackend | undefined {
  return loaded?.variant;
}

/** Where the addon is looked for. FEDLLM_NATIVE_PATH excludes all other places. */
export function addonCandidates(environment: Environment, release: string): AddonCandidate[] {
  if (environment.nativePath !== undefined) return [{ source: "environment", path: environment.nativePath }];
  const file = "fedllm_native.node";
  return [
    { source: "checkout", path: join(PROJECT_ROOT, "native", "build", "Release", file) },
    { source: "prebuild", path: join(PROJECT_ROOT, "prebuilds", `${process.platform}-${process.arch}`, file) },
    { source: "cache", path: join(cacheBuildDir(environment, release), "Release", file) },
  ];
}

/** This user's build folder for this package version, llama.cpp release and platform. */
export function cacheBuildDir(environment: Environment, release: string): string {
  const key = `${packageVersion()}-llama.cpp-${release}-${process.platform}-${process.arch}`;
  return join(environment.cacheDir, "native", key);
}

function refuseSecondVariant(libraries: NativeLibraries): void {
  const foreign = loaded === undefined ? foreignLibraryFolders(libraries.binsDir) : [loaded.binsDir];
  if (foreign.length === 0) return;
  throw problemError("NATIVE_MISMATCH", {
    subject: "llama.cpp libraries of this process",
    expected: `one set, from ${libraries.binsDir}`,
    received: `libraries already loaded from ${foreign.join(", ")}`,
    remedy: "Use the same backend for training and generation, or run the other backend in a process of its own",
  });
}

/** Opens a shared library so that its symbols are visible to everything loaded later, and returns its exports. */
function openLibrary(path: string): unknown {
  const target: { exports: unknown } = { exports: {} };
  process.dlopen(target, path, constants.dlopen.RTLD_NOW | constants.dlopen.RTLD_GLOBAL);
  return target.exports;
}

/** Without sources beside this program any addon will do. */
function isStale(path: string, wanted: string | undefined): boolean {
  return wanted !== undefined && builtFrom(path) !== wanted;
}

function staleError(path: string): Error {
  return problemError("NATIVE_MISMATCH", {
    subject: path,
    expected: "an addon built from the sources in native/addon",
    received: "one that was built from others",
    remedy: "Build it again with: npm run build:native",
  });
}

/**
 * Opens the first candidate that loads; every symbol is bound at once, so a missing one shows here and not later. The libraries must be
 * open. Throws NATIVE_UNAVAILABLE when none loads, NATIVE_MISMATCH for one outside the cache that is built from other sources.
 */
export function openAddon(candidates: readonly AddonCandidate[]): { addon: NativeAddon; addonPath: string } {
  const failures: string[] = [];
  const causes: unknown[] = [];
  const wanted = sourcesHash(PROJECT_ROOT);
  for (const { source, path } of candidates) {
    if (!existsSync(path)) {
      failures.push(`${path}: no such file`);
      continue;
    }
    if (isStale(path, wanted)) {
      // The cache is ours to fill: what is stale there is built again.
      if (source !== "cache") throw staleError(path);
      failures.push(`${path}: built from other sources`);
      continue;
    }
    try {
      const target: { exports: unknown } = { exports: {} };
      process.dlopen(target, path, constants.dlopen.RTLD_NOW);
      return { addon: target.exports as NativeAddon, addonPath: path };
    } catch (error) {
      failures.push(`${path}: ${error instanceof Error ? error.message : String(error)}`);
      causes.push(error);
    }
  }
  throw problemError(
    "NATIVE_UNAVAILABLE",
    {
      subject: "native addon",
      expected: "a loadable fedllm_native.node",
      received: failures.join("; "),
      remedy: "Build it with: npx fedllm-native native build (in a source checkout: npm run build:native)",
    },
    causes[0],
  );
}
