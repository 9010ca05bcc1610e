/**
 * Builds the addon on the user's machine when no ready one loads: once, into a per-user cache folder keyed by package
 * version, llama.cpp release and platform. The compiling itself is scripts/build-native.cjs in a child process.
 */
import { join } from "node:path";
import { readEnvironment } from "../config/environment.js";
import type { Environment } from "../config/environment.js";
import { FedllmError, isFedllmError } from "../errors.js";
import { cacheBuildDir, loadNative } from "./load.js";
import type { LoadOptions, LoadedNative } from "./load.js";
import { PROJECT_ROOT, locateLibraries } from "./libraries.js";
import { lastLines, runProcess } from "../util/run-process.js";

/** Lines of compiler output that an error message repeats. */
const OUTPUT_LINES_MAX = 20;

export interface BuildOptions {
  readonly environment?: Environment;
  /** Receives one sentence when a build starts and one when it ends. */
  readonly onProgress?: (line: string) => void;
}

/**
 * Loads the addon, building it first when there is none that loads. Throws like {@link loadNative}, and
 * NATIVE_UNAVAILABLE with the compiler's last lines when the build fails.
 */
export async function ensureAddon(options: LoadOptions & BuildOptions = {}): Promise<LoadedNative> {
  // A missing or wrong platform package is not cured by building, so its error comes first.
  locateLibraries(options.backend ?? "cpu");
  try {
    return loadNative(options);
  } catch (error) {
    const environment = options.environment ?? readEnvironment();
    if (!isFedllmError(error, "NATIVE_UNAVAILABLE") || environment.nativePath !== undefined) throw error;
    await buildAddon(options);
    return loadNative(options);
  }
}

/** Builds the addon into this user's cache, whether or not another one exists, and returns its path. */
export async function buildAddon(options: BuildOptions = {}): Promise<string> {
  const environment = options.environment ?? readEnvironment();
  const release = locateLibraries("cpu").release;
  const outDir = cacheBuildDir(environment, release);
  const startMs = performance.now();
  options.onProgress?.(`Building the native addon for ${process.platform}-${process.arch} in ${outDir}, about a minute.`);

  const script = join(PROJECT_ROOT, "scripts", "build-native.cjs");
  const { exitCode, output } = await runProcess(process.execPath, [script, "--target", "fedllm_native", "--out", outDir]);
  if (exitCode !== 0) {
    const tail = lastLines(output, OUTPUT_LINES_MAX);
    throw new FedllmError("NATIVE_UNAVAILABLE", `native addon: the build failed.\n${tail}`);
  }
  options.onProgress?.(`Built the native addon in ${((performance.now() - startMs) / 1000).toFixed(0)} s.`);
  return join(outDir, "Release", "fedllm_native.node");
}
