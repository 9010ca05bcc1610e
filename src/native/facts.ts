/**
 * What the doctor command reports about the native part: installed libraries per backend, where the addon is looked
 * for, and the tools for building it. Loads nothing, so it works on a broken installation too; printing is the CLI's.
 */
import { existsSync } from "node:fs";
import { findNodeLlamaCpp } from "../../scripts/libraries.cjs";
import { readEnvironment } from "../config/environment.js";
import type { Environment } from "../config/environment.js";
import { runProcess } from "../util/run-process.js";
import { PROJECT_ROOT, headersRelease, locateLibraries, offeredBackends, packageVersion } from "./libraries.js";
import type { NativeBackend, NativeLibraries } from "./libraries.js";
import { addonCandidates } from "./load.js";
import type { AddonCandidate } from "./load.js";

export interface BackendFact {
  readonly backend: NativeBackend;
  /** Absent when the libraries cannot be used; `problem` says why. */
  readonly libraries?: NativeLibraries;
  readonly problem?: string;
}

export interface NativeFacts {
  readonly packageVersion: string;
  readonly nodeVersion: string;
  /** `<platform>-<arch>` as Node names them. */
  readonly platform: string;
  /** Absent when node-llama-cpp is not installed. */
  readonly nodeLlamaCppVersion?: string;
  /** llama.cpp release of our headers; absent before the first build of a checkout. */
  readonly headersRelease?: string;
  readonly backends: readonly BackendFact[];
  readonly addonCandidates: readonly (AddonCandidate & { readonly exists: boolean })[];
  readonly cacheDir: string;
  /** First line of `--version` per tool; a tool that is missing has no entry. */
  readonly buildTools: Readonly<Record<string, string>>;
}

/** Collects the facts; never throws for a missing part. */
export async function collectNativeFacts(environment: Environment = readEnvironment()): Promise<NativeFacts> {
  const platform = `${process.platform}-${process.arch}`;
  const nodeLlamaCpp = findNodeLlamaCpp(PROJECT_ROOT);
  const release = headersRelease() ?? nodeLlamaCpp?.release;
  return {
    packageVersion: packageVersion(),
    nodeVersion: process.versions.node,
    platform,
    ...(nodeLlamaCpp === undefined ? {} : { nodeLlamaCppVersion: nodeLlamaCpp.version }),
    ...(release === undefined ? {} : { headersRelease: release }),
    backends: offeredBackends(platform).map(describeBackend),
    addonCandidates: addonCandidates(environment, release ?? "unknown").map((candidate) => ({
      ...candidate,
      exists: existsSync(candidate.path),
    })),
    cacheDir: environment.cacheDir,
    buildTools: await findBuildTools(["cmake", "c++", "ninja", "git"]),
  };
}

function describeBackend(backend: NativeBackend): BackendFact {
  try {
    return { backend, libraries: locateLibraries(backend) };
  } catch (error) {
    return { backend, problem: error instanceof Error ? error.message : String(error) };
  }
}

async function findBuildTools(names: readonly string[]): Promise<Record<string, string>> {
  const tools: Record<string, string> = {};
  for (const name of names) {
    try {
      const { exitCode, output } = await runProcess(name, ["--version"]);
      if (exitCode === 0) tools[name] = output.split("\n", 1)[0] ?? "";
    } catch {
      // A tool that cannot be started is simply not listed.
    }
  }
  return tools;
}
