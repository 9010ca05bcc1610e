/**
 * The experiment file: type, default and check of every field side by side. Defaults are FedLLM-Bench's where it names one.
 * Reading files, overrides and paths is load.ts; turning zod's findings into messages is problems.ts.
 */
import { z } from "zod";
import { TEMPLATE_NAMES } from "../data/prompt-template.js";
import { strategyOptionsSchema, type StrategyOptions } from "../federated/strategies/options.js";
import { DEFAULT_STRATEGY, STRATEGY_NAMES } from "../federated/strategies/registry.js";
import { benchmarksSchema } from "./benchmarks.js";
import { federationSection, federationShape, type FederationConfig } from "./federation.js";
import { generatedSection, type GeneratedConfig } from "./generated.js";
import { BARE_TEXT, MODULE_NAMES, OBJECTIVES, PRECISION_NAMES, REFERENCE_POLICIES } from "./names.js";
import { privacySection, privacyShape, type PrivacyConfig } from "./privacy.js";
import { robustSection, robustShape, type RobustConfig, type RobustInput } from "./robust.js";
import { STRATEGY_FILE_PATTERN } from "./strategy-file.js";

/** Largest count any field may hold; far above real use, so that a slip of the keyboard does not exhaust memory. */
const COUNT_MAX = 1_000_000;

const attribute = () =>
  z.string().min(1).default("language").describe("field of the samples; a client belongs where most of its samples do");
const groupsSection = z.discriminatedUnion("by", [
  z.strictObject({ by: z.literal("field"), field: attribute() }),
  z.strictObject({ by: z.literal("languageFamily"), field: attribute() }),
  z.strictObject({ by: z.literal("file"), file: z.string().min(1).describe("JSON file {client id: group}") }),
]);

const count = (minimum = 1) => z.int().min(minimum).max(COUNT_MAX);
const path = () => z.string().min(1);

/** Arm and run names become file names, so they hold only characters that every file system takes. */
const NAME_PATTERN = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
export const NAME_LENGTH_MAX = 64;
const name = () =>
  z.string().regex(NAME_PATTERN, "1 to 64 letters, digits, dots, dashes or underscores, starting with a letter or digit");

const optimizerShape = {
  beta1: z.number().min(0).lt(1).default(0.9).describe("AdamW: decay of the first moment"),
  beta2: z.number().min(0).lt(1).default(0.999).describe("AdamW: decay of the second moment"),
  epsilon: z.number().positive().default(1e-8).describe("AdamW: added to the root of the second moment"),
  weightDecay: z.number().min(0).default(0).describe("AdamW: decoupled weight decay"),
  maxGradientNorm: z
    .number()
    .positive()
    .nullable()
    .default(1)
    .describe("global L2 norm the gradient of a step is clipped to; null: no clipping"),
};

const loraShape = {
  rank: z.int().min(1).max(1024).default(16).describe("inner dimension of the A/B pairs"),
  loraAlpha: z.number().positive().default(32).describe("the adapter's output is scaled by loraAlpha / rank"),
  dropout: z.number().min(0).lt(1).default(0.05).describe("probability of dropping an input of A while training"),
  targetModules: z
    .array(z.enum(MODULE_NAMES))
    .min(1)
    .default(["attn_q", "attn_v"])
    .describe("linear layers that get an adapter, by their exact GGUF names"),
  layers: z
    .array(z.int().min(0).max(999))
    .min(1)
    .optional()
    .describe("transformer layers that get one, ascending, the first is 0; nothing below the lowest is computed backward; default: all"),
};

const dpoShape = {
  beta: z.number().min(1e-6).max(1e6).default(0.1).describe("how strongly the trained policy is held to the reference"),
  labelSmoothing: z
    .number()
    .min(0)
    .lt(0.5)
    .default(0)
    .describe("part of the preferences that is taken to be wrong (conservative DPO)"),
  reference: z
    .enum(REFERENCE_POLICIES)
    .default("base")
    .describe("the policy that rewards compare with: base, the model without an adapter; start, the start adapter; round, the adapter that a client starts the round from"),
};

const personalizationShape = {
  fineTuneSteps: count().describe("optimizer steps of each client"),
  learningRate: z.number().positive().optional().describe("default: initialLearningRate"),
  numClients: count().optional().describe("clients that are drawn for it; default: all that have an adapter"),
  saveAdapters: z.boolean().default(false).describe("save each fine-tuned adapter, in adapters/ARM/finetuned"),
};

const trainingShape = {
  numRounds: count().default(100).describe("exchanges between server and clients"),
  clientsPerRound: count().default(10).describe("size of the cohort drawn for each round; all clients when there are fewer"),
  minClients: count().default(1).describe("the run stops with COHORT_TOO_SMALL when fewer updates of a round can be used"),
  localSteps: z
    .union([count(), z.literal("dynamic")])
    .default(10)
    .describe(
      "optimizer steps of a client in a round; small clients repeat their samples. dynamic: as many as pass totalEpochs times over the client's own data in the whole run. Default with objective dpo: dynamic",
    ),
  totalEpochs: z
    .number()
    .positive()
    .max(COUNT_MAX)
    .optional()
    .describe("passes of each client over its own data in the whole run, with localSteps: dynamic; default: 3"),
  batchSize: count().default(16).describe("samples per optimizer step"),
  microBatchTokens: z
    .int()
    .min(16)
    .max(COUNT_MAX)
    .default(1024)
    .describe("most tokens computed at once; smaller needs less memory and changes results only by rounding"),
  initialLearningRate: z.number().positive().default(2e-5).describe("client learning rate of the first round"),
  finalLearningRate: z.number().min(0).default(1e-6).describe("where the cosine over rounds ends"),
  fixedClients: z
    .array(z.string().min(1))
    .min(1)
    .optional()
    .describe("client ids of strategies that keep one cohort (local); default: the cohort of round 1"),
  pooledSteps: count().optional().describe("centralized: optimizer steps per round; default: what all clients of a round make"),
  labelSmoothing: z
    .number()
    .min(0)
    .lt(1)
    .default(0)
    .describe("part of each supervised token's target that is spread over the whole vocabulary; objective sft only"),
  neftuneAlpha: z
    .number()
    .min(0)
    .max(1e3)
    .default(0)
    .describe("NEFTune: uniform noise of alpha / sqrt(tokens * width) on the embeddings while training; usual values are 5 to 15, 0: none"),
  loraPlusRatio: z
    .number()
    .positive()
    .max(1e4)
    .default(1)
    .describe("LoRA+: learning rate of B over that of A, which is the client learning rate; its paper advises 16"),
  lossScale: z
    .number()
    .positive()
    .optional()
    .describe("a power of two that gradients are multiplied by on the device; default: 1 on the CPU, 1024 elsewhere, where it is halved when it overflows"),
  optimizer: z.strictObject(optimizerShape).prefault({}).describe("AdamW, started anew for each client and round"),
  dpo: z.strictObject(dpoShape).optional().describe("options of objective dpo"),
  personalization: z
    .strictObject(personalizationShape)
    .optional()
    .describe("fine-tuning of single clients from their adapter after the last round; default: none"),
};

/** The same fields without defaults: what one arm may override. */
function overridesOf<Output extends object>(shape: z.core.$ZodShape): z.ZodType<Overrides<Output>> {
  const fields = Object.entries(shape).map(([key, field]) => {
    const inner = field instanceof z.ZodDefault || field instanceof z.ZodPrefault ? field.unwrap() : field;
    return [key, z.optional(inner)] as const;
  });
  return z.strictObject(Object.fromEntries(fields)) as unknown as z.ZodType<Overrides<Output>>;
}

/** A section of which any field may be left out, nested sections included. */
type Overrides<T> = {
  readonly [K in keyof T]?: (T[K] extends readonly unknown[] ? T[K] : T[K] extends object ? Overrides<T[K]> : T[K]) | undefined;
};

const loraSection = z.strictObject(loraShape);
const trainingSection = z.strictObject({
  objective: z
    .enum(OBJECTIVES)
    .default("sft")
    .describe(
      "sft: learn the answers; dpo: learn from pairs of a preferred and another answer. dpo has FedLLM-Bench's defaults for preferences: 200 rounds, batchSize 8, dynamic steps, learning rates 1e-4 to 1e-5, rank 8, loraAlpha 16, no dropout, template none, maxLength 512",
    ),
  startAdapter: path()
    .optional()
    .describe(
      "where training begins instead of a fresh adapter: a GGUF adapter of the same shape, or a run (its folder, or runs/NAME) with #ARM where several arms have one; default: the arm of the same name",
    ),
  ...trainingShape,
});

/** The adapter's options. */
export type LoraConfig = z.output<typeof loraSection>;
/** Rounds and local training of an arm. */
export type TrainingConfig = Omit<z.output<typeof trainingSection>, "objective" | "startAdapter">;
/** How clients learn from pairs. */
export type DpoConfig = NonNullable<TrainingConfig["dpo"]>;

const armTraining = overridesOf<TrainingConfig>({
  ...trainingShape,
  dpo: overridesOf<DpoConfig>(dpoShape),
  optimizer: overridesOf<TrainingConfig["optimizer"]>(optimizerShape),
});

const precision = z
  .enum(PRECISION_NAMES)
  .describe("weights of the base model: `source` takes the file as it is, the others are made from it on this machine");
const strategyName = z.union([
  z.enum([...STRATEGY_NAMES]),
  z
    .string()
    .regex(STRATEGY_FILE_PATTERN, `one of ${STRATEGY_NAMES.join(", ")}, or a file of a strategy (.ts, .mts, .js, .mjs)`)
    .describe("file of a strategy of one's own: .ts, .mts, .js or .mjs"),
]);
const strategy = strategyName.describe("the federated method, by name or by file");

const armDifferences = {
  lora: overridesOf<LoraConfig>(loraShape).optional().describe("differences of this arm from the common lora section"),
  training: armTraining.optional().describe("differences of this arm from the common training section"),
  federation: overridesOf<FederationConfig>(federationShape).optional().describe("differences of this arm from the common federation section"),
  privacy: overridesOf<PrivacyConfig>(privacyShape).optional().describe("differences of this arm from the common privacy section"),
  robust: overridesOf<RobustInput>(robustShape).optional().describe("differences of this arm from the common robust section"),
  strategyOptions: strategyOptionsSchema
    .optional()
    .describe("options of this arm's strategy; they go before the common strategyOptions"),
};

/** What an arm may say differently from the common sections. */
export const armDifferencesSchema = z.strictObject(armDifferences);

const seed = () => z.int().min(0).max(2 ** 32 - 1);

const armSchema = z.strictObject({
  name: name().optional().describe("default: precision and strategy, for example q4_k_m-fedavg"),
  seed: seed().optional().describe("of this arm's draws: initial adapter, cohorts, samples, dropout; data is divided by the common seed; default: that one"),
  precision: precision.default("source"),
  strategy: strategy.default(DEFAULT_STRATEGY),
  ...armDifferences,
});

const gridSchema = z.strictObject({
  precisions: z.array(precision).min(1).default(["source"]),
  strategies: z.array(strategy).min(1).default([DEFAULT_STRATEGY]),
  byStrategy: z
    .partialRecord(strategyName, armDifferencesSchema)
    .optional()
    .describe("differences of all arms of a strategy from the common sections, for example its own learning rate"),
  vary: z
    .record(z.string().min(1), z.array(z.unknown()).min(1))
    .optional()
    .describe("further dimensions: lists of values by dotted path below lora, training, federation, privacy, robust or strategyOptions, for example {lora.rank: [4, 8]}"),
  seeds: z.array(seed()).min(1).optional().describe("each cell once with each of them, see the seed of an arm; default: the common seed"),
});

/** The experiment as a user writes it. */
export const experimentSchema = z.strictObject({
  name: name().default("experiment").describe("names the run's folder"),
  seed: seed()
    .default(2023)
    .describe("every random draw is derived from it; 0 is a seed"),
  model: path()
    .default("builtin:fedllm-tiny")
    .describe("GGUF file of the base model, builtin:fedllm-tiny, or known:NAME, a model that is looked for below ./models"),
  data: z.strictObject({
    train: path()
      .optional()
      .describe("JSON or JSON Lines file of client data: {user: [samples]} or a plain array; or dataset:NAME, a data set of the catalogue below ./data"),
    generated: generatedSection.optional().describe("synthetic data that is made instead, when there is no train or with synthetic: true"),
    synthetic: z.boolean().default(false).describe("take data.generated, and neither train nor heldOutFile"),
    heldOutFile: path()
      .optional()
      .describe("samples in the same form by which all adapters are judged; default: the clients' held-out parts together"),
    serverFile: path()
      .optional()
      .describe("samples of the server's own, in the same form, for strategies that train there (fedbiot); whose they are in the file does not matter"),
    heldOutFraction: z
      .number()
      .min(0)
      .max(0.9)
      .optional()
      .describe("part of each client that is held out for it; default: 0.1, or 0 when there is a heldOutFile"),
    minSamples: count().default(1).describe("users with fewer samples in the file do not take part"),
    maxClients: count().optional().describe("only the first so many of the remaining users, in file order"),
    template: z
      .enum([...TEMPLATE_NAMES, BARE_TEXT])
      .default("alpaca")
      .describe("how a sample becomes text; chat: the model's own template; none: prompt and answer as they are, for objective dpo"),
    groups: groupsSection.optional().describe("groups of clients, for figures by group and for federation.adapterPerGroup; default: none"),
    preferenceAnswer: z
      .literal("chosen")
      .optional()
      .describe("objective sft on pairs of answers: which of them is learned; without it such data is refused"),
    maxLength: z.int().min(8).max(COUNT_MAX).default(1024).describe("tokens of a sample; longer ones are truncated and counted"),
    maxPromptLength: z
      .int()
      .min(1)
      .max(COUNT_MAX)
      .optional()
      .describe("objective dpo: tokens that a prompt keeps, from its end, when prompt and answer are too long; default: 128"),
  }),
  lora: loraSection.prefault({}).describe("the adapter"),
  training: trainingSection.prefault({}).describe("rounds and local training"),
  federation: federationSection.prefault({}).describe("clients that are slow or fail, and their devices"),
  privacy: privacySection.prefault({}).describe("differential privacy of clients"),
  robust: robustSection.prefault({}).describe("what takes the place of the mean where some clients may be hostile"),
  strategyOptions: strategyOptionsSchema
    .prefault({})
    .describe("options of the federated methods; each arm takes those that its strategy knows"),
  evaluation: z
    .strictObject({
      every: count().optional().describe("evaluate after every so many rounds; always after the last"),
      maxSamples: count().optional().describe("at most so many samples of the overall held-out set, evenly spaced"),
      maxSamplesPerClient: count().optional().describe("at most so many held-out samples of each client"),
      aggregationError: z
        .boolean()
        .default(true)
        .describe("measure in each round how far the global adapter is from the mean of the clients' products B A"),
      benchmarks: benchmarksSchema.optional().describe("metrics that the adapters are judged by while the run goes, as `eval` does afterwards; default: none"),
      transfer: z.boolean().optional().describe("after the last round judge each arm's adapter on the base model in every precision of the experiment; default: false"),
      adapterTypes: z
        .array(z.enum(["f32", "f16", "q8_0"]))
        .min(1)
        .max(3)
        .refine((types) => new Set(types).size === types.length, "each type at most once")
        .optional()
        .describe("after the last round also judge the adapters as files of these types hold them, metrics `NAME@TYPE-file`; default: none"),
      localSampleStride: count()
        .default(1)
        .describe("strategy local: adapter number i is judged by the overall samples number j with i + j a multiple of this"),
    })
    .prefault({})
    .describe("held-out evaluation"),
  arms: z
    .union([z.array(armSchema).min(1), gridSchema])
    .prefault({})
    .describe("what is compared: a list, or a grid of precisions, strategies, further fields and seeds"),
  variants: z
    .record(name(), z.record(z.string(), z.unknown()))
    .optional()
    .describe("differences of variants of the experiment, by name: `run EXPERIMENT/VARIANT`"),
  checkpoint: z
    .strictObject({
      every: count().default(1).describe("rounds between two checkpoints; the last round always has one"),
      keepAdapters: count().optional().describe("keep the common adapter after every so many rounds, in adapters/ARM/rounds; default: that of the last round only"),
    })
    .prefault({}),
  numThreads: z.int().min(1).max(1024).optional().describe("compute threads; default: the cores this process may use"),
  hiddenStateCache: z
    .union([z.enum(["auto", "off"]), z.int().min(1)])
    .default("auto")
    .describe(
      "with an adapter on upper layers only (lora.layers, fedot): bytes of memory in which the hidden states below it are kept from step to step; auto: half of what training leaves; off: they are computed anew each time. Changes nothing on the CPU, rounding elsewhere",
    ),
  deterministic: z
    .boolean()
    .default(false)
    .describe("compute in F32 only, bit for bit the same as on another machine of its kind; otherwise the fastest kernels are timed once and remembered"),
  device: z.string().min(1).optional().describe("auto (the fastest class of device on which the model fits), cpu, vulkan:0, cuda:0, metal or a name as `doctor` lists it; default: the CPU"),
});

export type ExperimentInput = z.input<typeof experimentSchema>;
export type ParsedExperiment = z.output<typeof experimentSchema>;

/** Where samples come from and how they become tokens: either a file or generated. */
export type DataConfig = ParsedExperiment["data"] & { readonly heldOutFraction: number } & DataSource;

/** A file, or synthetic data. */
export type DataSource =
  | { readonly train: string; readonly generated?: never; readonly synthetic: false }
  | { readonly train?: never; readonly generated: GeneratedConfig; readonly synthetic: true };

/** One arm with everything it needs, defaults and overrides merged. */
export interface ArmConfig {
  readonly name: string;
  readonly precision: (typeof PRECISION_NAMES)[number];
  /** A name of the registry, or the absolute path of a strategy's file. */
  readonly strategy: string;
  /** Of its own draws; absent: the experiment's. */
  readonly seed?: number;
  readonly lora: LoraConfig;
  readonly training: TrainingConfig;
  readonly federation: FederationConfig;
  /** Absent: none. */
  readonly privacy?: PrivacyConfig;
  /** Absent: the mean. */
  readonly robust?: RobustConfig;
  /** Exactly the options this arm's strategy knows. */
  readonly strategyOptions: StrategyOptions;
}

/** What an arm's initial adapter, cohorts, samples and dropout are drawn by. */
export function seedOf({ seed: common }: Pick<ExperimentConfig, "seed">, { seed: own }: Pick<ArmConfig, "seed">): number {
  return own ?? common;
}

/** The resolved configuration: absolute paths, arms spelled out, nothing left to default. Deeply frozen. */
export interface ExperimentConfig
  extends Omit<ParsedExperiment, "arms" | "variants" | "data" | "lora" | "training" | "federation" | "privacy" | "robust" | "strategyOptions" | "numThreads"> {
  readonly data: DataConfig;
  /** What is the same for all arms: the objective decides what the data is. */
  readonly training: Pick<ParsedExperiment["training"], "objective" | "startAdapter">;
  readonly arms: readonly ArmConfig[];
  readonly numThreads: number;
}

/** JSON Schema (draft 2020-12) of the experiment file, for editors. */
export function experimentJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(experimentSchema, { io: "input" });
  return { title: "fedllm-native experiment", ...schema };
}
