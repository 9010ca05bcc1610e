/**
 * Experiment file + overrides -> one deeply frozen configuration with absolute paths, its fingerprint, and where it came from.
 * Field types and defaults are in schema.ts, wording of problems in problems.ts. Precedence: file, then flags, then --set.
 */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { basename, dirname, resolve } from "node:path";
import { LineCounter, isMap, isNode, isScalar, parseDocument } from "yaml";
import type { Document } from "yaml";
import { FedllmError, problemError } from "../errors.js";
import { assert } from "../util/assert.js";
import { canonicalJson } from "../util/canonical-json.js";
import { checkArmStrategy, checkCommonOptions, checkServerData, loadStrategies, mergeStrategyOptions } from "./arm-strategies.js";
import type { StrategySources } from "./arm-strategies.js";
import { builtinExperiments } from "./builtin.js";
import { suggest } from "./suggest.js";
import { chooseData, type ChosenExperiment } from "./data-source.js";
import { checkFederationConfig, withoutFolders, type FederationConfig } from "./federation.js";
import { listArms, type ArmInput } from "./grid.js";
import { checkObjective, withObjectiveDefaults } from "./objective.js";
import { setValue, type ConfigOverride } from "./overrides.js";
import { resolvePaths } from "./paths.js";
import { checkPrivacyConfig, privacySection, type PrivacyConfig } from "./privacy.js";
import { checkRobustConfig, robustOf, type RobustInput } from "./robust.js";
import { describeIssues } from "./problems.js";
import type { OriginOf } from "./problems.js";
import { experimentSchema } from "./schema.js";
import type { ArmConfig, ExperimentConfig, LoraConfig, TrainingConfig } from "./schema.js";
import { strategyLabel } from "./strategy-file.js";
import { applyVariant } from "./variants.js";

export { parseSetOption, type ConfigOverride } from "./overrides.js";

/** Experiment files are a few kilobytes; anything larger is the wrong file. */
const FILE_BYTES_MAX = 1 << 20;
/** Held out of each client when nothing is said and no file of held-out samples is named. */
const DEFAULT_HELD_OUT_FRACTION = 0.1;

export interface ConfigSource {
  /** Experiment file; absent: only overrides and defaults. */
  readonly file?: string;
  /** One of the file's `variants`, or a strategy, which is then the only one; default: the file as it is. */
  readonly variant?: string;
  readonly overrides?: readonly ConfigOverride[];
  /** What relative paths of overrides and of `file` start from; default: the working directory. */
  readonly workingFolder?: string;
}

export interface LoadedConfig {
  readonly config: ExperimentConfig;
  /** SHA-256 of everything that shapes results, except file contents: those are hashed by the run. */
  readonly fingerprint: string;
  /** Absolute path of the experiment file. */
  readonly file?: string;
}

/** Reads, merges, checks and freezes. Throws CONFIG_INVALID naming every wrong field, or the file that cannot be read. */
export async function loadConfig(source: ConfigSource): Promise<LoadedConfig> {
  const workingFolder = resolve(source.workingFolder ?? ".");
  const file = source.file === undefined ? undefined : resolve(workingFolder, source.file);
  const document = file === undefined ? undefined : await readExperimentFile(file);
  const given = applyVariant(document?.toJS() ?? {}, source.variant);
  const overrides = source.overrides ?? [];
  for (const override of overrides) setValue(given, override);
  const raw = withObjectiveDefaults(given);
  const parsed = experimentSchema.safeParse(raw);
  if (!parsed.success) {
    const messages = describeIssues(parsed.error.issues, raw, makeOriginOf(file, document, overrides));
    throw new FedllmError("CONFIG_INVALID", messages.join("\n"));
  }
  const located = resolvePaths(chooseData(parsed.data), overrides, file === undefined ? workingFolder : dirname(file), workingFolder);
  const inputs = listArms(located);
  const config = deepFreeze(resolveExperiment(located, inputs, await loadStrategies(inputs.map(({ strategy }) => strategy))));
  checkAcrossFields(config);
  checkObjective(config);
  checkCommonOptions(located.strategyOptions, config.arms);
  return { config, fingerprint: fingerprintConfig(config), ...(file === undefined ? {} : { file }) };
}

/** A parsed YAML document together with the line of each offset. */
interface ExperimentDocument {
  readonly document: Document;
  readonly lines: LineCounter;
  toJS(): unknown;
}

function didYouMean(file: string): string {
  const close = suggest(basename(file), builtinExperiments());
  return close === undefined ? "" : `Did you mean ${close}? `;
}

async function readExperimentFile(file: string): Promise<ExperimentDocument> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    throw problemError(
      "CONFIG_INVALID",
      {
        subject: "experiment",
        expected: "a readable YAML file",
        received: `${file} (${error instanceof Error ? error.message : String(error)})`,
        remedy: `${didYouMean(file)}Name an experiment file or one of ${builtinExperiments().join(", ")}, or leave it out to run the built-in demonstration.`,
      },
      error,
    );
  }
  if (bytes.length > FILE_BYTES_MAX) {
    throw problemError("CONFIG_INVALID", {
      subject: file,
      expected: `an experiment file of at most ${String(FILE_BYTES_MAX)} bytes`,
      received: `${String(bytes.length)} bytes`,
    });
  }
  const lines = new LineCounter();
  const document = parseDocument(bytes.toString("utf8"), { lineCounter: lines, prettyErrors: true });
  const [first] = document.errors;
  if (first !== undefined) {
    throw problemError("CONFIG_INVALID", { subject: file, expected: "valid YAML", received: first.message }, first);
  }
  if (document.contents !== null && !isMap(document.contents)) {
    throw problemError("CONFIG_INVALID", { subject: file, expected: "a YAML mapping of fields", received: "another value" });
  }
  return { document, lines, toJS: () => (document.toJS() as unknown) ?? {} };
}

function makeOriginOf(
  file: string | undefined,
  parsed: ExperimentDocument | undefined,
  overrides: readonly ConfigOverride[],
): OriginOf {
  return (path, options) => {
    const full = [...path, ...(options?.key === undefined ? [] : [options.key])].map((part) => String(part));
    // An override concerns the fields at and below its path, and a section that it made above.
    const override = overrides.findLast((entry) => {
      const shared = Math.min(entry.path.length, full.length);
      return entry.path.slice(0, shared).every((part, index) => full[index] === part);
    });
    if (override !== undefined) return override.origin;
    if (file === undefined || parsed === undefined) return undefined;
    const line = lineOf(parsed, path, options?.key);
    return line === undefined ? basename(file) : `${basename(file)} line ${String(line)}`;
  };
}

/** Line of the value at a path, of a key there, or of the nearest section that exists. */
function lineOf(parsed: ExperimentDocument, path: readonly PropertyKey[], key: string | undefined): number | undefined {
  const at = (parts: readonly PropertyKey[]): unknown =>
    parts.length === 0 ? parsed.document.contents : parsed.document.getIn(parts, true);
  if (key !== undefined) {
    const section = at(path);
    const pair = isMap(section) ? section.items.find((item) => isScalar(item.key) && item.key.value === key) : undefined;
    const start = pair !== undefined && isNode(pair.key) ? pair.key.range?.[0] : undefined;
    return start === undefined ? undefined : parsed.lines.linePos(start).line;
  }
  const node = at(path);
  const start = isNode(node) ? node.range?.[0] : undefined;
  return start === undefined ? undefined : parsed.lines.linePos(start).line;
}

/** Spells out the arms and fills in what depends on the machine. */
function resolveExperiment(parsed: ChosenExperiment, inputs: readonly ArmInput[], sources: StrategySources): ExperimentConfig {
  const { arms: _written, variants: _others, data, lora, training: written, federation, privacy, robust, strategyOptions, numThreads, ...rest } = parsed;
  const { objective, startAdapter, ...training } = written;
  return {
    ...rest,
    data: { ...data, heldOutFraction: data.heldOutFraction ?? (data.heldOutFile === undefined ? DEFAULT_HELD_OUT_FRACTION : 0) },
    training: { objective, ...(startAdapter === undefined ? {} : { startAdapter }) },
    numThreads: numThreads ?? availableParallelism(),
    arms: inputs.map((arm): ArmConfig => {
      const { name, seed } = arm;
      const source = sources.get(arm.strategy);
      assert(source !== undefined, "the strategies of all arms were loaded");
      const options = mergeStrategyOptions(strategyOptions, arm, name, source);
      const resolved: ArmConfig = {
        name,
        precision: arm.precision,
        strategy: arm.strategy,
        ...(seed === undefined ? {} : { seed }),
        lora: mergeSection<LoraConfig>(lora, arm.lora),
        training: mergeSection<TrainingConfig>(training, arm.training),
        federation: mergeSection<FederationConfig>(federation, arm.federation),
        ...privacyOf(mergeSection<PrivacyConfig>(privacy, arm.privacy)),
        ...robustOf(mergeSection<RobustInput>(robust, arm.robust)),
        strategyOptions: options,
      };
      checkArmStrategy(resolved, source.create(options));
      checkPrivacyConfig(resolved, source.create(options));
      checkRobustConfig(resolved, source.create(options));
      checkServerData(name, source.create(options), parsed);
      return resolved;
    }),
  };
}

/** An arm without privacy has no section, as if there were none to choose from. The order of fields is the schema's, wherever they stood. */
function privacyOf(privacy: PrivacyConfig): Pick<ArmConfig, "privacy"> {
  return privacy.dp === "none" ? {} : { privacy: privacySection.parse(privacy) };
}

function mergeSection<T extends object>(base: T, overrides: object | undefined): T {
  const entries = new Map<string, unknown>(Object.entries(base));
  for (const [key, value] of Object.entries(overrides ?? {}) as [string, unknown][]) {
    if (value === undefined) continue;
    const inner = entries.get(key);
    const isSection = typeof inner === "object" && inner !== null && !Array.isArray(inner);
    entries.set(key, isSection ? mergeSection(inner, value as object) : value);
  }
  return Object.fromEntries(entries) as T;
}

/** What no single field can tell: names that collide, rates that rise, repeated modules. */
function checkAcrossFields(config: ExperimentConfig): void {
  const seen = new Set<string>();
  for (const [index, arm] of config.arms.entries()) {
    // File systems without upper and lower case would put both adapters in one file.
    const key = arm.name.toLowerCase();
    if (seen.has(key)) {
      throw problemError("CONFIG_INVALID", {
        subject: `arms.${String(index)}.name`,
        expected: "a name no other arm has",
        received: JSON.stringify(arm.name),
        remedy: "Give the arms that share precision and strategy a name each.",
      });
    }
    seen.add(key);
    checkArm(arm);
    checkFederationConfig(arm.federation, ` of arm ${arm.name}`);
    if (!arm.federation.adapterPerGroup || config.data.groups !== undefined) continue;
    throw problemError("CONFIG_INVALID", {
      subject: `federation.adapterPerGroup of arm ${arm.name}`,
      expected: "data.groups, which says who belongs together",
      received: "no groups",
    });
  }
}

function checkArm(arm: ArmConfig): void {
  const { training, lora } = arm;
  if (lora.layers?.some((layer, place) => layer <= (lora.layers?.[place - 1] ?? -1)) === true) {
    throw problemError("CONFIG_INVALID", {
      subject: `lora.layers of arm ${arm.name}`,
      expected: "ascending numbers",
      received: lora.layers.join(", "),
    });
  }
  if (training.finalLearningRate > training.initialLearningRate) {
    throw problemError("CONFIG_INVALID", {
      subject: `training.finalLearningRate of arm ${arm.name}`,
      expected: `at most initialLearningRate (${String(training.initialLearningRate)})`,
      received: String(training.finalLearningRate),
    });
  }
  if (training.minClients > training.clientsPerRound) {
    throw problemError("CONFIG_INVALID", {
      subject: `training.minClients of arm ${arm.name}`,
      expected: `at most clientsPerRound (${String(training.clientsPerRound)})`,
      received: String(training.minClients),
    });
  }
  if (new Set(lora.targetModules).size !== lora.targetModules.length) {
    throw problemError("CONFIG_INVALID", {
      subject: `lora.targetModules of arm ${arm.name}`,
      expected: "each module once",
      received: lora.targetModules.join(", "),
    });
  }
}

/** SHA-256 of the configuration without its name and paths. */
export function fingerprintConfig(config: ExperimentConfig): string {
  const shaping = {
    ...without(config, ["name", "model"]),
    arms: config.arms.map((arm) => ({ ...arm, strategy: strategyLabel(arm.strategy), federation: withoutFolders(arm.federation) })),
    data: { ...shapingDataFields(config), hasHeldOutFile: config.data.heldOutFile !== undefined, hasServerFile: config.data.serverFile !== undefined },
    training: { objective: config.training.objective, hasStartAdapter: config.training.startAdapter !== undefined },
  };
  return createHash("sha256").update(canonicalJson(shaping)).digest("hex");
}

/** How data is used, without where it lies. */
export function shapingDataFields(config: ExperimentConfig): Record<string, unknown> {
  const { groups } = config.data;
  const isFile = groups?.by === "file";
  return { ...without(config.data, ["train", "synthetic", "heldOutFile", "serverFile", ...(isFile ? ["groups"] : [])]), ...(isFile ? { groups: { by: groups.by } } : {}) };
}

function without(section: object, names: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(section).filter(([name]) => !names.includes(name)));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
