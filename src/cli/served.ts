/** The models behind what a command line names: a run, an adapter file or a model file, and the adapter of it that is meant. */
import { loadConfig } from "../config/load.js";
import type { TemplateName } from "../data/prompt-template.js";
import { problemError } from "../errors.js";
import type { TrainingEngine } from "../run/engine.js";
import { findRun } from "../run/run-folder.js";
import { findRoundAdapter } from "../run/saved-adapters.js";
import { chooseModel } from "../serve/choose-model.js";
import type { AdaptedModel, ModelChoice } from "../serve/choose-model.js";
import { findServedModels } from "../serve/served-models.js";
import type { ServedModel } from "../serve/served-models.js";

export interface NamedSubject extends ModelChoice {
  readonly subject: string;
  /** Base of an adapter that lies in no run. */
  readonly model?: string | undefined;
  readonly template?: TemplateName | undefined;
}

/** All models of the subject; precisions that are not there yet are made on the processor. Throws as findServedModels. */
export async function servedOf({ subject, model, template }: NamedSubject): Promise<readonly ServedModel[]> {
  return findServedModels({ subject, openEngine, ...(model === undefined ? {} : { base: model }), ...(template === undefined ? {} : { template }) });
}

/** The one adapter that is meant, and the subject's models; a round's adapter is made of a checkpoint where one is still there. Throws CONFIG_INVALID with what there is. */
export async function chosenOf(named: NamedSubject): Promise<{ readonly models: readonly ServedModel[]; readonly chosen: AdaptedModel | undefined }> {
  const { round } = named;
  if (round === undefined) {
    const models = await servedOf(named);
    return { models, chosen: chooseModel(models, named) };
  }
  const path = await roundAdapter(named, round);
  const models = await servedOf(named);
  const chosen = models.find((candidate): candidate is AdaptedModel => candidate.files.adapterPath === path);
  return { models, chosen };
}

async function roundAdapter({ subject, arm: name, client, group }: NamedSubject, round: number): Promise<string> {
  if (client !== undefined || group !== undefined) throw problemError("CONFIG_INVALID", { subject: "--round", expected: "no --client and no --group beside it", received: "both" });
  const paths = findRun(subject);
  const { config } = await loadConfig({ file: paths.config });
  const [only] = config.arms;
  const arm = name === undefined && config.arms.length === 1 ? only : config.arms.find((candidate) => candidate.name === name);
  if (arm === undefined) {
    throw problemError("CONFIG_INVALID", { subject: "--arm", expected: `one of ${config.arms.map((candidate) => candidate.name).join(", ")}`, received: name ?? "none" });
  }
  return findRoundAdapter({ paths, config, arm, engine: await openEngine() }, round);
}

async function openEngine(): Promise<TrainingEngine> {
  const [{ createNativeEngine }, { availableParallelism }] = await Promise.all([import("../run/native-engine.js"), import("node:os")]);
  return createNativeEngine({ numThreads: availableParallelism(), onProgress: (line) => process.stderr.write(`${line}\n`) });
}
