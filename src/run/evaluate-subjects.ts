/** Walks subjects and metrics: every metric of a subject with one opened model, which is opened when an answer is missing. */
import type { MetricProgress } from "../benchmarks/run-metric.js";
import { runMetric } from "../benchmarks/run-metric.js";
import type { EvaluationStore } from "../benchmarks/store.js";
import { DEFAULT_MAX_PROMPT_LENGTH } from "../config/objective.js";
import type { ExperimentConfig } from "../config/schema.js";
import type { TemplateName } from "../data/prompt-template.js";
import type { ModelTokenizer, OpenBaseModel, TrainingEngine } from "./engine.js";
import type { PlannedSubject } from "./eval-subjects.js";
import type { OpenMetrics } from "./evaluation-metrics.js";
import { EXACT_VARIANTS } from "./kernel-variants.js";
import { EngineSubject } from "./subject-model.js";
import type { SubjectSettings } from "./subject-model.js";

/** How subjects are asked; what is absent comes from the run they are of. */
export interface AskSettings {
  readonly template?: TemplateName | "none" | undefined;
  /** Tokens of prompt and answer; default: 2048, at most the model's own. */
  readonly contextLength?: number | undefined;
  /** Answers that are written at once; default: 8. */
  readonly maxSequences?: number | undefined;
  readonly seed: number;
  /** Of the choice of items. */
  readonly limit?: number | undefined;
}

export interface SubjectsRun extends AskSettings {
  readonly engine: TrainingEngine;
  readonly subjects: readonly PlannedSubject[];
  /** Whose settings stand in; absent: files without a run. */
  readonly config?: ExperimentConfig | undefined;
  readonly open: OpenMetrics;
  readonly store: EvaluationStore;
  readonly versions: Readonly<Record<string, string>>;
  /** A base model that somebody has open, by its hash, and keeps open. */
  readonly opened?: { readonly sha256: string; readonly base: OpenBaseModel };
  readonly onProgress?: ((subject: string, metric: string, progress: MetricProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_CONTEXT = 2048;
const DEFAULT_SEQUENCES = 8;
const DEFAULT_BETA = 0.1;
const DEFAULT_MICRO_BATCH_TOKENS = 1024;

/** What was asked for, by its rows. */
export interface SubjectsResult {
  readonly gradingIds: readonly number[];
  /** Answers without a score. */
  readonly numUnscored: number;
}

/** Runs or completes all metrics of all subjects. Rejects as runMetric; what was stored stays. */
export async function evaluateSubjects(run: SubjectsRun): Promise<SubjectsResult> {
  const { subjects, open, store, engine, signal } = run;
  const models = new OpenModels(engine, run.opened);
  const gradingIds: number[] = [];
  let numUnscored = 0;
  try {
    for (const subject of subjects) {
      const settings = settingsOf(run, subject);
      let model: EngineSubject | undefined;
      try {
        for (const metric of open.metrics) {
          const result = await runMetric({
            metric,
            subject: subject.row,
            store,
            openModel: async () => (model ??= await openSubject(run, subject, settings, models)),
            ...(open.judge === undefined ? {} : { judge: open.judge }),
            ...(open.sandbox === undefined ? {} : { sandbox: open.sandbox }),
            seed: run.seed,
            settings: identitySettings(run, subject, settings),
            versions: run.versions,
            onProgress: (progress) => run.onProgress?.(subject.row.label, metric.title, progress),
            ...(signal === undefined ? {} : { signal }),
          });
          numUnscored += result.numUnscored;
          gradingIds.push(result.gradingId);
        }
      } finally {
        model?.dispose();
      }
    }
  } finally {
    models.dispose();
  }
  return { gradingIds, numUnscored };
}

async function openSubject({ engine }: SubjectsRun, subject: PlannedSubject, settings: SubjectSettings, models: OpenModels): Promise<EngineSubject> {
  const tokenizer = await models.tokenizer(subject.modelPath);
  return new EngineSubject(engine, subject, settings, { tokenizer, openBase: () => models.base(subject) });
}

/** Lengths and template of training, and what the user said. */
function settingsOf({ config, template, contextLength, maxSequences = DEFAULT_SEQUENCES, seed }: SubjectsRun, { arm, modelContextLength }: PlannedSubject): SubjectSettings {
  const training = (arm ?? config?.arms[0])?.training;
  return {
    template: template ?? config?.data.template ?? "alpaca",
    maxLength: config?.data.maxLength ?? DEFAULT_CONTEXT,
    maxPromptLength: config?.data.maxPromptLength ?? DEFAULT_MAX_PROMPT_LENGTH,
    beta: training?.dpo?.beta ?? DEFAULT_BETA,
    contextLength: contextLength ?? Math.min(DEFAULT_CONTEXT, modelContextLength),
    maxSequences,
    microBatchTokens: training?.microBatchTokens ?? DEFAULT_MICRO_BATCH_TOKENS,
    seed,
  };
}

/** What decides, beside hashes and the metric's own settings, whether stored answers may be kept. */
function identitySettings({ engine, limit }: SubjectsRun, { kernels, referenceSha256 }: PlannedSubject, settings: SubjectSettings): Readonly<Record<string, unknown>> {
  const { template, maxLength, maxPromptLength, beta, contextLength } = settings;
  const isExact = Object.entries(EXACT_VARIANTS).every(([name, value]) => new Map<string, unknown>(Object.entries(kernels)).get(name) === value);
  return {
    model: {
      ...{ template, maxLength, maxPromptLength, beta, contextLength },
      device: engine.deviceName,
      ...(isExact ? {} : { kernels }),
      ...(referenceSha256 === undefined ? {} : { referenceSha256 }),
    },
    ...(limit === undefined ? {} : { limit }),
  };
}

/** The model file that is open; the next one closes it. */
class OpenModels {
  readonly #engine: TrainingEngine;
  readonly #opened: SubjectsRun["opened"];
  readonly #tokenizers = new Map<string, Promise<ModelTokenizer>>();
  #base: { readonly key: string; readonly opened: Promise<OpenBaseModel> } | undefined;

  constructor(engine: TrainingEngine, opened: SubjectsRun["opened"]) {
    this.#engine = engine;
    this.#opened = opened;
  }

  tokenizer(path: string): Promise<ModelTokenizer> {
    const known = this.#tokenizers.get(path) ?? this.#engine.openTokenizer(path);
    this.#tokenizers.set(path, known);
    return known;
  }

  async base({ modelPath, kernels, row }: PlannedSubject): Promise<OpenBaseModel> {
    if (this.#opened?.sha256 === row.modelSha256) return this.#opened.base;
    const key = JSON.stringify([modelPath, kernels]);
    if (this.#base?.key !== key) {
      this.#closeBase();
      this.#base = { key, opened: this.#engine.openBaseModel(modelPath, kernels) };
    }
    return this.#base.opened;
  }

  dispose(): void {
    this.#closeBase();
    for (const tokenizer of this.#tokenizers.values()) {
      void tokenizer.then(
        (opened) => {
          opened.dispose();
        },
        () => undefined,
      );
    }
    this.#tokenizers.clear();
  }

  #closeBase(): void {
    void this.#base?.opened.then(
      (opened) => {
        opened.dispose();
      },
      () => undefined,
    );
    this.#base = undefined;
  }
}
