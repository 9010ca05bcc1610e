/**
 * What is served: a model file, an adapter with its base, or a run with its base models and every adapter in its folder. Each has an id, the first is
 * taken by requests that name none.
 */
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve } from "node:path";
import { readGgufFileInfo } from "node-llama-cpp";
import { resolveModelPath } from "../config/builtin.js";
import { loadConfig } from "../config/load.js";
import type { ArmConfig } from "../config/schema.js";
import type { TemplateName } from "../data/prompt-template.js";
import { problemError } from "../errors.js";
import type { GenerationFiles } from "../generation/context-pool.js";
import type { TrainingEngine } from "../run/engine.js";
import { findRun, hasRun, runPaths } from "../run/run-folder.js";
import type { RunPaths } from "../run/run-folder.js";
import { checkSameInputs, readRunRecord } from "../run/run-record.js";

export interface ServedModel {
  readonly id: string;
  readonly files: GenerationFiles;
  /** How conversations are written; absent: as the model file says. */
  readonly template?: TemplateName;
  /** Of the file, in seconds since 1970. */
  readonly created: number;
}

export interface ServeSubject {
  /** Run (folder or name), GGUF adapter or GGUF model. */
  readonly subject: string;
  /** Base of an adapter that lies in no run. */
  readonly base?: string;
  /** Goes before the run's. */
  readonly template?: TemplateName;
  /** Makes base models of other precisions; asked for only where a run has some. */
  readonly openEngine: () => Promise<TrainingEngine>;
}

/** The id of a run's base model, followed by its precision where there are several. */
const BASE_ID = "base";
const GGUF = ".gguf";

/** Finds what there is. Throws CONFIG_INVALID, RUN_NOT_FOUND, MODEL_LOAD_FAILED for a file that is no GGUF, and as ensureVariant. */
export async function findServedModels(options: ServeSubject): Promise<readonly ServedModel[]> {
  const { subject, base, template } = options;
  if (hasRun(resolve(subject)) || !(subject.startsWith("builtin:") || isFile(subject))) return modelsOfRun(findRun(subject), options);
  const path = resolve(resolveModelPath(subject));
  const form = template === undefined ? {} : { template };
  if (!(await isAdapter(path))) return [{ id: basename(path, GGUF), files: { modelPath: path }, created: createdAt(path), ...form }];
  if (base !== undefined) {
    const modelPath = resolve(resolveModelPath(base));
    return [
      { id: basename(path, GGUF), files: { modelPath, adapterPath: path }, created: createdAt(path), ...form },
      { id: BASE_ID, files: { modelPath }, created: createdAt(modelPath), ...form },
    ];
  }
  const run = runAround(path);
  if (run === undefined) {
    throw problemError("CONFIG_INVALID", { subject: "--model", expected: "the base model of an adapter that lies in no run", received: "none", remedy: `Add --model MODEL.gguf to serve ${subject}` });
  }
  const models = await modelsOfRun(run, options);
  const first = models.find(({ files }) => files.adapterPath === path);
  return first === undefined ? models : [first, ...models.filter((model) => model !== first)];
}

async function modelsOfRun(paths: RunPaths, { template, openEngine }: ServeSubject): Promise<readonly ServedModel[]> {
  const { config } = await loadConfig({ file: paths.config, overrides: [] });
  const trained = config.data.template;
  const form = template ?? (trained === "none" ? undefined : trained);
  const adapters = adapterFiles(paths).flatMap((path) => {
    const id = relative(join(paths.folder, "adapters"), path).replaceAll("\\", "/").slice(0, -GGUF.length);
    const arm = armOf(id, config.arms);
    return arm === undefined ? [] : [{ id, path, precision: arm.precision }];
  });
  const precisions = [...new Set([...adapters.map(({ precision }) => precision), ...config.arms.map(({ precision }) => precision)])];
  const bases = await basePaths(resolveModelPath(config.model), precisions, paths, openEngine);
  const describe = (id: string, files: GenerationFiles): ServedModel => ({ id, files, created: createdAt(files.adapterPath ?? files.modelPath), ...(form === undefined ? {} : { template: form }) });
  const baseOf = (precision: string) => bases.get(precision) ?? "";
  return [
    ...adapters.map(({ id, path, precision }) => describe(id, { modelPath: baseOf(precision), adapterPath: path })),
    ...precisions.map((precision) => describe(precisions.length === 1 ? BASE_ID : `${BASE_ID}/${precision}`, { modelPath: baseOf(precision) })),
  ];
}

/** The file of each precision; the record says whether the model is still the one that was trained on. */
async function basePaths(model: string, precisions: readonly string[], paths: RunPaths, openEngine: ServeSubject["openEngine"]): Promise<ReadonlyMap<string, string>> {
  const engine = await openEngine();
  const source = await engine.openSource(model);
  checkSameInputs(readRunRecord(paths.record), { hashes: { model: source.sha256 }, llamaCpp: engine.llamaCppRelease });
  const files = new Map<string, string>();
  for (const precision of precisions) files.set(precision, (await engine.ensureVariant(source, precision)).path);
  return files;
}

/** The arm whose name an adapter's path begins with. */
function armOf(id: string, arms: readonly ArmConfig[]): ArmConfig | undefined {
  return arms.find(({ name }) => id === name || id.startsWith(`${name}/`));
}

/** All adapters of a run: common ones first, then those of groups, clients and rounds. */
function adapterFiles(paths: RunPaths): readonly string[] {
  const folder = join(paths.folder, "adapters");
  if (!existsSync(folder)) return [];
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile() && entry.name.endsWith(GGUF) && !entry.name.startsWith("."));
  const depth = (path: string) => path.split(/[/\\]/u).length;
  return files.map((entry) => join(entry.parentPath, entry.name)).sort((left, right) => depth(left) - depth(right) || (left < right ? -1 : 1));
}

/** The run in whose adapters a file lies. */
export function runAround(path: string): RunPaths | undefined {
  for (let folder = dirname(path); folder !== dirname(folder); folder = dirname(folder)) {
    if (hasRun(folder)) return runPaths(folder);
  }
  return undefined;
}

async function isAdapter(path: string): Promise<boolean> {
  try {
    const { metadata } = await readGgufFileInfo(path, { sourceType: "filesystem", logWarnings: false });
    return (metadata.general as { readonly type?: unknown } | undefined)?.type === "adapter";
  } catch (error) {
    throw problemError("MODEL_LOAD_FAILED", { subject: path, expected: "a GGUF model or adapter", received: error instanceof Error ? error.message : String(error) }, error);
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function createdAt(path: string): number {
  return Math.floor((statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) / 1000);
}
