/** The public library: re-exports only. The command line is src/cli. */
export { FedllmError, isFedllmError } from "./errors.js";
export type { ErrorCode } from "./errors.js";

export { resumeExperiment, runExperiment } from "./experiment.js";
export type { EngineFactory, RunOptions, RunResult } from "./experiment.js";
export { loadConfig, parseSetOption } from "./config/load.js";
export type { ConfigOverride, ConfigSource, LoadedConfig } from "./config/load.js";
export { experimentJsonSchema } from "./config/schema.js";
export type { ArmConfig, ExperimentConfig, ExperimentInput, LoraConfig, TrainingConfig } from "./config/schema.js";
export { demoExperimentPath, resolveModelPath } from "./config/builtin.js";
export { planExperiment } from "./run/plan.js";
export type { ArmEstimate, ExperimentPlan } from "./run/plan.js";
export { createNativeEngine } from "./run/native-engine.js";
export type { ModelTokenizer, OpenBaseModel, SourceModel, TrainingEngine } from "./run/engine.js";
export type { RunEvent, RunListener } from "./run/events.js";
export { runPaths } from "./run/run-folder.js";
export type { RunPaths } from "./run/run-folder.js";
export { summarizeRun } from "./report/summary.js";
export type { Summary, SummaryRow } from "./report/summary.js";

export { fingerprintLayout } from "./adapter/layout.js";
export type { AdapterLayout, AdapterTensor } from "./adapter/layout.js";
export { readFederatedDataset } from "./data/dataset.js";
export type { ClientSamples, FederatedDataset, ReadDatasetOptions } from "./data/dataset.js";
export { importData } from "./data/import/import.js";
export type { ImportOptions, ImportResult } from "./data/import/import.js";
export { parseFieldMap } from "./data/import/field-map.js";
export type { ImportProblem, SampleStreamOptions, StreamedSample } from "./data/import/sample-stream.js";
export { splitData } from "./data/split/split.js";
export type { SplitOptions as SplitDataOptions, SplitResult as SplitDataResult } from "./data/split/split.js";
export { splitFederatedDataset } from "./data/federated-dataset.js";
export type { ChatSample, MultiTurnSample, PreferenceSample, Sample, SingleTurnSample } from "./data/samples.js";
export { createTemplate } from "./data/templates.js";
export type { PromptTemplate, Segment, TemplateName } from "./data/prompt-template.js";
export { tokenizePairs } from "./data/preference-tokens.js";
export { tokenizePrompt, tokenizeSamples } from "./data/tokenized.js";
export { PythonRandom } from "./data/python-random.js";
export { scoreContinuations } from "./evaluation/continuations.js";
export type { ContinuationGroup, ContinuationScore, ScoreRequest } from "./evaluation/continuations.js";
export { evaluateGlobal, evaluatePersonal, summarizeScores } from "./evaluation/held-out.js";
export type { HeldOutMetrics, HeldOutRow, HeldOutSet } from "./evaluation/held-out.js";

export type {
  EvaluateRequest,
  EvaluateResult,
  LocalTrainer,
  OptimizerOptions,
  PreferencePair,
  SampleScore,
  TokenizedSample,
  TrainRequest,
  TrainResult,
} from "./federated/local-trainer.js";
export type { AdapterSet, ClientUpdate, CohortMember, FederatedClient, FederationState, NamedState, TrainTask } from "./federated/protocol.js";
export { runServer } from "./federated/server.js";
export type { FederationDeps, FederationOptions } from "./federated/options.js";
export { createOwnStrategy } from "./federated/own-strategy.js";
export type { StrategyDefinition, StrategyToolkit } from "./federated/own-strategy.js";
export type { ClientSide, RoundContext, Strategy, TrainingPlan } from "./federated/strategy.js";
export { STRATEGY_NAMES, createStrategy, resolveStrategyOptions } from "./federated/strategies/registry.js";
export type { StrategyOptions } from "./federated/strategies/options.js";
export { MetricsStore } from "./metrics/store.js";
export { openMetricsDatabase } from "./metrics/database.js";

export { judgeSchema } from "./config/judge.js";
export type { JudgeConfig, JudgeInput } from "./config/judge.js";
export { createJudge } from "./judge/create-judge.js";
export type { JudgeUsage, OpenJudge } from "./judge/judge.js";
export { comparePair, verdictOfRatings, winRateOf } from "./judge/pairwise.js";
export type { PairwiseItem, PairwiseResult, Verdict, WinRate } from "./judge/pairwise.js";
export { cohensKappa, compareRatings, quadraticWeightedKappa, spearman } from "./judge/agreement.js";
export type { RatingAgreement } from "./judge/agreement.js";

export { BaseModel } from "./native/base-model.js";
export { NativeTrainer } from "./native/native-trainer.js";
export { Tokenizer } from "./native/tokenizer.js";
export { emulateModel } from "./native/emulate.js";
export { quantizeModel } from "./native/quantize.js";
export { mergeAdapter } from "./native/merge.js";
export { exportAdapter } from "./exchange/export-adapter.js";
export { importAdapter } from "./exchange/import-adapter.js";
export { ensureAddon } from "./native/build.js";
export { emulatorLayers } from "./adapter/emulator-layers.js";
export type { EmulatorLayers, EmulatorShape } from "./adapter/emulator-layers.js";
export { loadNative } from "./native/load.js";
export type { LoadedNative } from "./native/load.js";
