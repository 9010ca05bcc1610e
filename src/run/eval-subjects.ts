/**
 * From what a user names (a run and its arms, rounds and clients, an adapter file, a model file) to subjects: files of model and
 * adapter with a label. Anything that is not there is answered with what there is.
 */
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import { basename, join } from "node:path";
import type { SubjectRow } from "../benchmarks/store.js";
import { resolveModelPath } from "../config/builtin.js";
import { loadConfig } from "../config/load.js";
import type { ArmConfig, ExperimentConfig } from "../config/schema.js";
import { problemError } from "../errors.js";
import type { NativeKernelVariants } from "../native/binding.js";
import { hasErrorCode } from "../util/atomic-file.js";
import type { SourceModel, TrainingEngine } from "./engine.js";
import { hashFile } from "./file-hash.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import { findAdapters, findRoundAdapter } from "./saved-adapters.js";
import { findRun, hasRun, runPaths, RUNS_FOLDER } from "./run-folder.js";
import type { RunPaths } from "./run-folder.js";
import { readRunRecord } from "./run-record.js";
import { locateStartAdapters } from "./start-adapter.js";
import type { SubjectFiles } from "./subject-model.js";

/** What is to be judged. */
export interface SubjectRequest {
  /** Folder or name of a run, GGUF adapter (with `model`), GGUF model, or a built-in model. */
  readonly target: string;
  /** Base model of an adapter file. */
  readonly model?: string | undefined;
  /** Of the run; default: all; an empty list: none. */
  readonly arms?: readonly string[] | undefined;
  /** Default: the last one. */
  readonly round?: number | undefined;
  /** Clients' adapters; `all` among them: every one. Default: the common adapter, or where an arm has none all clients'. */
  readonly clients?: readonly string[] | undefined;
  /** The base model too. */
  readonly base: boolean;
  /** Base models to judge on; default: each arm's own. */
  readonly precisions?: readonly string[] | undefined;
}

/** A subject by its files. */
export interface PlannedSubject extends SubjectFiles {
  readonly row: SubjectRow;
  readonly kernels: NativeKernelVariants;
  /** That the model was trained for. */
  readonly modelContextLength: number;
  /** Of the arm it comes from; absent: of none. */
  readonly arm?: ArmConfig;
  readonly referenceSha256?: string;
}

export interface PlannedSubjects {
  readonly subjects: readonly PlannedSubject[];
  /** Absent: files without a run. */
  readonly run?: { readonly paths: RunPaths; readonly config: ExperimentConfig };
}

/** Finds and hashes all files; the engine makes precisions that are not there. Throws CONFIG_INVALID, RUN_NOT_FOUND. */
export async function planSubjects(request: SubjectRequest, engine: TrainingEngine): Promise<PlannedSubjects> {
  const { target } = request;
  const run = [target, join(RUNS_FOLDER, target)].find(hasRun);
  if (run !== undefined) return planRun(request, runPaths(run), engine);
  const isBuiltin = target.startsWith("builtin:");
  if (!isBuiltin && !existsSync(target)) return planRun(request, findRun(target), engine);
  refuseRunOptions(request);
  if (!isBuiltin && (await isAdapterFile(target))) return { subjects: await planAdapterFile(request, engine) };
  const source = await engine.openSource(resolveModelPath(target));
  return { subjects: await planModels(request, engine, source, basename(source.path), undefined) };
}

function refuseRunOptions({ arms, round, clients, target }: SubjectRequest): void {
  if (arms === undefined && round === undefined && clients === undefined) return;
  throw problemError("CONFIG_INVALID", { subject: "--arm, --round and --client", expected: "a run, which has arms, rounds and clients", received: `the file ${target}` });
}

async function planAdapterFile({ target, model, precisions, base }: SubjectRequest, engine: TrainingEngine): Promise<readonly PlannedSubject[]> {
  if (model === undefined) {
    throw problemError("CONFIG_INVALID", { subject: target, expected: "the base model of this adapter", received: "none", remedy: "Name it with --model" });
  }
  const source = await engine.openSource(resolveModelPath(model));
  const bases = await planModels({ precisions }, engine, source, basename(source.path), undefined);
  const adapterSha256 = await hashFile(target);
  const adapters = bases.map(({ row, ...rest }): PlannedSubject => ({
    ...rest,
    adapterPath: target,
    row: { ...row, label: precisions === undefined ? basename(target) : `${basename(target)} on ${row.precision ?? row.modelName}`, adapterSha256 },
  }));
  return [...(base ? bases : []), ...adapters];
}

/** The base alone in each precision. */
async function planModels(
  { precisions }: Pick<SubjectRequest, "precisions">,
  engine: TrainingEngine,
  source: SourceModel,
  name: string,
  kernelsOf: Readonly<Record<string, NativeKernelVariants>> | undefined,
): Promise<PlannedSubject[]> {
  const subjects: PlannedSubject[] = [];
  for (const precision of precisions ?? ["source"]) {
    const variant = await engine.ensureVariant(source, precision);
    const isNamed = precisions !== undefined;
    subjects.push({
      modelPath: variant.path,
      kernels: kernelsOf?.[precision] ?? EXACT_VARIANTS,
      modelContextLength: source.contextLength,
      row: { label: isNamed ? `base ${precision}` : name, ...(isNamed ? { precision } : {}), modelName: basename(source.path), modelSha256: variant.sha256 },
    });
  }
  return subjects;
}

async function planRun(request: SubjectRequest, paths: RunPaths, engine: TrainingEngine): Promise<PlannedSubjects> {
  const { config } = await loadConfig({ file: paths.config });
  const record = readRunRecord(paths.record);
  const source = await engine.openSource(resolveModelPath(request.model ?? config.model));
  const arms = chooseArms(request, config);
  const ownPrecisions = [...new Set((arms.length === 0 ? config.arms : arms).map(({ precision }) => precision))];
  const bases = new Map<string, PlannedSubject>();
  for (const precision of new Set([...ownPrecisions, ...(request.precisions ?? [])])) {
    const [base] = await planModels({ precisions: [precision] }, engine, source, "", record.kernelVariants);
    if (base !== undefined) bases.set(precision, base);
  }
  const references = await locateStartAdapters(config.training.startAdapter, config.arms);
  const subjects: PlannedSubject[] = [];
  if (request.base) subjects.push(...(request.precisions ?? ownPrecisions).flatMap((precision) => bases.get(precision) ?? []));
  for (const arm of arms) {
    const adapters = await adaptersOf(request, { paths, config, arm, engine });
    const reference = arm.training.dpo?.reference === "start" ? references.get(arm.name) : undefined;
    for (const precision of request.precisions ?? [arm.precision]) {
      const base = bases.get(precision);
      if (base === undefined) continue;
      for (const { path, label, ...whose } of adapters) {
        subjects.push({
          ...base,
          arm,
          adapterPath: path,
          ...(reference === undefined ? {} : { referencePath: reference.path, referenceSha256: reference.sha256 }),
          row: { ...base.row, ...whose, arm: arm.name, label: precision === arm.precision ? label : `${label} on ${precision}`, adapterSha256: await hashFile(path) },
        });
      }
    }
  }
  return { subjects, run: { paths, config } };
}

function chooseArms({ arms }: SubjectRequest, config: ExperimentConfig): readonly ArmConfig[] {
  if (arms === undefined) return config.arms;
  return arms.map((name) => {
    const arm = config.arms.find((candidate) => candidate.name === name);
    if (arm !== undefined) return arm;
    throw problemError("CONFIG_INVALID", { subject: "arm", expected: `one of ${config.arms.map((candidate) => candidate.name).join(", ")}`, received: JSON.stringify(name) });
  });
}

interface NamedAdapter {
  readonly path: string;
  readonly label: string;
  readonly round?: number;
  readonly clientId?: string;
  readonly group?: string;
}

interface ArmPlace {
  readonly paths: RunPaths;
  readonly config: ExperimentConfig;
  readonly arm: ArmConfig;
  readonly engine: TrainingEngine;
}

async function adaptersOf({ round, clients }: SubjectRequest, place: ArmPlace): Promise<readonly NamedAdapter[]> {
  const { name, training } = place.arm;
  if (round !== undefined) {
    if (clients !== undefined) throw problemError("CONFIG_INVALID", { subject: "--client", expected: "no --round beside it: clients' adapters are those of the last round", received: `round ${String(round)}` });
    return [{ path: await findRoundAdapter(place, round), label: round === training.numRounds ? name : `${name}@${String(round)}`, round }];
  }
  const found = findAdapters(place.paths, name);
  const last = { round: training.numRounds };
  const all = found.clients.map(({ id, path }) => ({ path, label: `${name}/${id}`, clientId: id, ...last }));
  if (clients !== undefined) return clients.includes("all") ? all : clients.map((id) => clientAdapter(all, id, name));
  if (found.common !== undefined) return [{ path: found.common, label: name, ...last }];
  const groups = found.groups.map(({ id, path }) => ({ path, label: `${name}/${id}`, group: id, ...last }));
  const some = groups.length > 0 ? groups : all;
  if (some.length > 0) return some;
  throw problemError("CONFIG_INVALID", {
    subject: `arm ${name}`,
    expected: "an arm that is finished, or a round that has an adapter",
    received: `no adapter in ${join(place.paths.folder, "adapters")}`,
    remedy: "Finish the run with `fedllm-native resume`, or name a round with --round",
  });
}

function clientAdapter(all: readonly (NamedAdapter & { readonly clientId: string })[], id: string, arm: string): NamedAdapter {
  const adapter = all.find(({ clientId }) => clientId === id);
  if (adapter !== undefined) return adapter;
  const known = all.map(({ clientId }) => clientId);
  const shown = known.length > MAX_LISTED ? [...known.slice(0, MAX_LISTED), `${String(known.length - MAX_LISTED)} more`] : known;
  throw problemError("CONFIG_INVALID", {
    subject: `client of arm ${arm}`,
    expected: known.length === 0 ? "no --client, as the arm has one adapter for all" : `all, or one of ${shown.join(", ")}`,
    received: JSON.stringify(id),
  });
}

const MAX_LISTED = 20;

/** A GGUF adapter names its kind among its first fields. */
async function isAdapterFile(path: string): Promise<boolean> {
  const handle = await open(path, "r").catch((error: unknown) => {
    throw problemError("CONFIG_INVALID", { subject: "eval", expected: "a run, an adapter or a model", received: `${path}, which cannot be read` }, error);
  });
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(ADAPTER_HEAD_BYTES), 0, ADAPTER_HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead).includes("adapter.lora.alpha");
  } catch (error) {
    if (hasErrorCode(error, "EISDIR")) throw problemError("RUN_NOT_FOUND", { subject: "run", expected: "a folder with config.resolved.yaml, a GGUF adapter or a GGUF model", received: path });
    throw error;
  } finally {
    await handle.close();
  }
}

const ADAPTER_HEAD_BYTES = 4096;
