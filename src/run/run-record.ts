/**
 * run.json: what a result depends on beside the configuration. Resuming compares the hashes, so that a run never goes
 * on with another model or other data; versions and machine are for the reader.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, cpus, platform, release, totalmem } from "node:os";
import { promisify } from "node:util";
import { z } from "zod";
import { FedllmError, problemError } from "../errors.js";
import type { NativeKernelVariants } from "../native/binding.js";
import { writeFileAtomic } from "../util/atomic-file.js";
import { kernelVariantsSchema } from "./kernel-variants.js";

const RECORD_VERSION = 1;

const recordSchema = z.object({
  recordVersion: z.literal(RECORD_VERSION),
  /** Random; tells runs apart when their measurements are put together. */
  id: z.string(),
  name: z.string(),
  seed: z.number(),
  startedAt: z.string(),
  configFingerprint: z.string(),
  versions: z.object({
    fedllmNative: z.string(),
    node: z.string(),
    nodeLlamaCpp: z.string(),
    llamaCpp: z.string(),
    addon: z.string(),
  }),
  machine: z.object({
    platform: z.string(),
    osRelease: z.string(),
    architecture: z.string(),
    cpu: z.string(),
    numCores: z.number(),
    memoryBytes: z.number(),
    device: z.string(),
    numThreads: z.number(),
    /** What peak memory in the measurements means: of each arm, or of the process so far. */
    peakMemoryScope: z.enum(["arm", "process"]),
  }),
  /** State of the git checkout in which the run was started; absent outside of one. */
  git: z.object({ commit: z.string(), hasChanges: z.boolean() }).optional(),
  /** SHA-256 by role: model, data.train, data.heldOut, and model.<precision> for each variant. */
  hashes: z.record(z.string(), z.string()),
  /** Set when the data was made by this program; with the hash of data.train. */
  syntheticData: z.object({ profile: z.string(), seed: z.number() }).optional(),
  /** Kernel variants by precision; absent in runs from before there was a choice: the exact ones. */
  kernelVariants: z.record(z.string(), kernelVariantsSchema).optional(),
});

/** Everything in run.json. */
export type RunRecord = z.output<typeof recordSchema>;

export interface RecordFacts {
  readonly id: string;
  readonly name: string;
  readonly seed: number;
  readonly configFingerprint: string;
  readonly llamaCpp: string;
  readonly addonPath: string;
  readonly device: string;
  readonly numThreads: number;
  readonly peakMemoryScope: "arm" | "process";
  readonly hashes: Readonly<Record<string, string>>;
  readonly kernelVariants: Readonly<Record<string, NativeKernelVariants>>;
  readonly syntheticData?: { readonly profile: string; readonly seed: number };
  /** Where the run was started; its git checkout, if it is one, is described. */
  readonly workingFolder: string;
}

/** Describes this process, machine and moment. */
export async function makeRunRecord(facts: RecordFacts): Promise<RunRecord> {
  const [processor] = cpus();
  const git = await gitState(facts.workingFolder);
  return {
    recordVersion: RECORD_VERSION,
    id: facts.id,
    name: facts.name,
    seed: facts.seed,
    startedAt: new Date().toISOString(),
    configFingerprint: facts.configFingerprint,
    versions: {
      fedllmNative: ownVersion(),
      node: process.version,
      nodeLlamaCpp: dependencyVersion("node-llama-cpp"),
      llamaCpp: facts.llamaCpp,
      addon: facts.addonPath,
    },
    machine: {
      platform: platform(),
      osRelease: release(),
      architecture: arch(),
      cpu: processor?.model ?? "unknown",
      numCores: cpus().length,
      memoryBytes: totalmem(),
      device: facts.device,
      numThreads: facts.numThreads,
      peakMemoryScope: facts.peakMemoryScope,
    },
    ...(git === undefined ? {} : { git }),
    hashes: { ...facts.hashes },
    ...(facts.syntheticData === undefined ? {} : { syntheticData: { ...facts.syntheticData } }),
    kernelVariants: { ...facts.kernelVariants },
  };
}

/** Writes the record atomically. */
export async function writeRunRecord(path: string, record: RunRecord): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(record, null, 2)}\n`);
}

/** Reads a record. Throws IO_FAILED when it is missing or not one of ours. */
export function readRunRecord(path: string): RunRecord {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new FedllmError("IO_FAILED", `cannot read ${path}: ${reason}`, { cause: error });
  }
}

/** Throws CONFIG_INVALID when a file of the run has other contents than when it began, or the release changed. */
export function checkSameInputs(record: RunRecord, now: { hashes: Readonly<Record<string, string>>; llamaCpp: string }): void {
  for (const [role, hash] of Object.entries(now.hashes)) {
    const before = record.hashes[role];
    if (before === undefined || before === hash) continue;
    throw problemError("CONFIG_INVALID", {
      subject: `${role} of the run`,
      expected: `the file the run began with (SHA-256 ${before})`,
      received: `other contents (${hash})`,
      remedy: "Put the file back to resume, or start a new run",
    });
  }
  if (record.versions.llamaCpp === now.llamaCpp) return;
  throw problemError("CONFIG_INVALID", {
    subject: "llama.cpp release of the run",
    expected: record.versions.llamaCpp,
    received: now.llamaCpp,
    remedy: "Resume with the version of fedllm-native that began the run, or start a new run",
  });
}

/** Of this program. */
export function ownVersion(): string {
  const require = createRequire(import.meta.url);
  return (require("../../package.json") as { version: string }).version;
}

/** Version of an installed dependency; "unknown" when it cannot be found. */
export function dependencyVersion(name: string): string {
  try {
    // Packages may hide their package.json from require, so the folder of the entry is walked upwards.
    const require = createRequire(import.meta.url);
    const paths = require.resolve.paths(name) ?? [];
    for (const folder of paths) {
      const text = readIfThere(`${folder}/${name}/package.json`);
      if (text !== undefined) return (JSON.parse(text) as { version: string }).version;
    }
  } catch {
    return "unknown";
  }
  return "unknown";
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

async function gitState(folder: string): Promise<{ commit: string; hasChanges: boolean } | undefined> {
  const run = promisify(execFile);
  try {
    const options = { cwd: folder, timeout: 5000 };
    const commit = (await run("git", ["rev-parse", "HEAD"], options)).stdout.trim();
    const status = (await run("git", ["status", "--porcelain", "--untracked-files=no"], options)).stdout.trim();
    return { commit, hasChanges: status !== "" };
  } catch {
    // No git, or no checkout: there is nothing to record.
    return undefined;
  }
}

