/**
 * What a training objective changes in an experiment: the defaults of other fields, and which fields belong to it.
 * Learning from preferences has FedLLM-Bench's settings of Fed-ChatbotPA; what the file says itself always goes first.
 */
import { problemError } from "../errors.js";
import { checkLossScale } from "../federated/local-trainer.js";
import { BARE_TEXT } from "./names.js";
import type { ArmConfig, ExperimentConfig } from "./schema.js";

/** Fields by section that preference training fills in when they are left out. */
const PREFERENCE_DEFAULTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  data: { template: BARE_TEXT, maxLength: 512, maxPromptLength: 128 },
  lora: { rank: 8, loraAlpha: 16, dropout: 0 },
  training: {
    numRounds: 200,
    localSteps: "dynamic",
    batchSize: 8,
    initialLearningRate: 1e-4,
    finalLearningRate: 1e-5,
    dpo: {},
  },
};
/** Passes over a client's data in the whole run, with dynamic steps. */
export const DEFAULT_TOTAL_EPOCHS = 3;
/** Tokens that a prompt keeps, when data.maxPromptLength is not needed for anything else. */
export const DEFAULT_MAX_PROMPT_LENGTH = 128;

/** The raw experiment with the defaults of its objective; the given value is not changed. What is no section is left to the schema. */
export function withObjectiveDefaults(raw: unknown): unknown {
  if (!isSection(raw) || !isSection(raw["training"]) || raw["training"]["objective"] !== "dpo") return raw;
  const filled = Object.entries(PREFERENCE_DEFAULTS).map(([name, defaults]) => {
    const section = raw[name] ?? {};
    return [name, isSection(section) ? { ...defaults, ...section } : section] as const;
  });
  return { ...raw, ...Object.fromEntries(filled) };
}

/** What the native core would refuse at the first step, refused before anything is loaded. */
function checkLoss({ name, training: { labelSmoothing, lossScale } }: ArmConfig, objective: ExperimentConfig["training"]["objective"]): void {
  if (objective === "dpo" && labelSmoothing !== 0) {
    throw problemError("CONFIG_INVALID", {
      subject: `training.labelSmoothing of arm ${name}`,
      expected: "0 with objective dpo, whose own is training.dpo.labelSmoothing",
      received: String(labelSmoothing),
    });
  }
  if (lossScale !== undefined) checkLossScale(lossScale, `training.lossScale of arm ${name}`);
}

function isSection(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Throws CONFIG_INVALID for fields that the objective does not know, and for those that do not fit each other. */
export function checkObjective(config: ExperimentConfig): void {
  const { data, training } = config;
  for (const arm of config.arms) {
    checkSteps(arm);
    checkLoss(arm, training.objective);
    if (arm.training.dpo?.reference === "start" && training.startAdapter === undefined) {
      throw problemError("CONFIG_INVALID", {
        subject: `training.dpo.reference of arm ${arm.name}`,
        expected: "base or round, since there is no training.startAdapter",
        received: "start",
      });
    }
  }
  if (training.objective === "dpo") {
    refuse(data.preferenceAnswer, "data.preferenceAnswer", "nothing, since objective dpo learns from both answers");
    const { maxPromptLength = DEFAULT_MAX_PROMPT_LENGTH, maxLength } = data;
    if (maxPromptLength >= maxLength) {
      throw problemError("CONFIG_INVALID", {
        subject: "data.maxPromptLength",
        expected: `fewer tokens than data.maxLength (${String(maxLength)}), so that something is left of the answers`,
        received: String(maxPromptLength),
      });
    }
    return;
  }
  refuse(data.maxPromptLength, "data.maxPromptLength", "nothing, since only objective dpo cuts prompts");
  refuse(data.template === BARE_TEXT ? BARE_TEXT : undefined, "data.template", "a template, since answers are learned behind one; none is for objective dpo");
  for (const { name, training: { dpo } } of config.arms) {
    refuse(dpo === undefined ? undefined : "a section", `training.dpo of arm ${name}`, "nothing, since training.objective is sft");
  }
}

function checkSteps({ name, training }: ArmConfig): void {
  if (training.totalEpochs === undefined || training.localSteps === "dynamic") return;
  throw problemError("CONFIG_INVALID", {
    subject: `training.totalEpochs of arm ${name}`,
    expected: "nothing, since training.localSteps is a number of steps",
    received: String(training.totalEpochs),
    remedy: "Set training.localSteps to dynamic",
  });
}

function refuse(value: number | string | undefined, subject: string, expected: string): void {
  if (value === undefined) return;
  throw problemError("CONFIG_INVALID", { subject, expected, received: String(value) });
}
