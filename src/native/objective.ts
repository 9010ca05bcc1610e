/**
 * What is minimised, on its way to the addon and back: checks of the options, pairs as groups of two samples, figures per
 * step.
 */
import { problemError } from "../errors.js";
import { checkLossScale, type PreferenceMetrics, type PreferenceObjective, type TrainRequest } from "../federated/local-trainer.js";
import type { NativePreferenceOptions, NativePreferenceSteps, NativeTrainOptions } from "./binding.js";
import { checkNumber, checkWeights } from "./checks.js";

type ObjectiveOptions = Pick<NativeTrainOptions, "labelSmoothing" | "neftuneAlpha" | "loraPlusRatio" | "lossScale" | "preference">;

/** Throws CONFIG_INVALID for numbers outside their range, ADAPTER_INVALID for a reference of another layout. */
export function buildObjectiveOptions(request: TrainRequest, numParameters: number): ObjectiveOptions {
  const { labelSmoothing, neftuneAlpha, loraPlusRatio, lossScale, objective } = request;
  if (labelSmoothing !== undefined) checkNumber(labelSmoothing, "labelSmoothing", { min: 0, max: 1, openMax: true });
  if (neftuneAlpha !== undefined) checkNumber(neftuneAlpha, "neftuneAlpha", { min: 0 });
  if (loraPlusRatio !== undefined) checkNumber(loraPlusRatio, "loraPlusRatio", { min: 0, openMin: true });
  if (lossScale !== undefined) checkLossScale(lossScale, "lossScale");
  if (objective !== undefined && labelSmoothing !== undefined && labelSmoothing > 0) {
    throw problemError("CONFIG_INVALID", {
      subject: "labelSmoothing",
      expected: "0 where pairs are trained, whose own is objective.labelSmoothing",
      received: String(labelSmoothing),
    });
  }
  return {
    ...(labelSmoothing === undefined ? {} : { labelSmoothing }),
    ...(neftuneAlpha === undefined ? {} : { neftuneAlpha }),
    ...(loraPlusRatio === undefined ? {} : { loraPlusRatio }),
    ...(lossScale === undefined ? {} : { lossScale }),
    ...(objective === undefined ? {} : { preference: buildPreference(objective, numParameters) }),
  };
}

/** Groups of two, for samples that are chosen and rejected answers in turn; DATASET_INVALID for an odd number. */
export function pairOffsets(numSamples: number): Uint32Array {
  if (numSamples % 2 !== 0) {
    throw problemError("DATASET_INVALID", {
      subject: "samples",
      expected: "pairs: each chosen answer followed by its rejected one",
      received: `${numSamples} samples`,
    });
  }
  return Uint32Array.from({ length: numSamples / 2 + 1 }, (_, pair) => 2 * pair);
}

export function toPreferenceMetrics(steps: NativePreferenceSteps): PreferenceMetrics[] {
  return Array.from(steps.rewardMargins, (rewardMargin, step) => ({
    rewardMargin,
    rewardAccuracy: figureAt(steps.rewardAccuracies, step),
    chosenReward: figureAt(steps.chosenRewards, step),
    rejectedReward: figureAt(steps.rejectedRewards, step),
    chosenLogProbability: figureAt(steps.chosenLogProbabilities, step),
    rejectedLogProbability: figureAt(steps.rejectedLogProbabilities, step),
  }));
}

function figureAt(figures: Float64Array, step: number): number {
  return figures[step] ?? Number.NaN;
}

function buildPreference({ beta, labelSmoothing, referenceWeights }: PreferenceObjective, numParameters: number): NativePreferenceOptions {
  checkNumber(beta, "objective.beta", { min: 1e-6, max: 1e6 });
  checkNumber(labelSmoothing, "objective.labelSmoothing", { min: 0, max: 0.5, openMax: true });
  if (referenceWeights !== undefined) checkWeights(referenceWeights, "objective.referenceWeights", numParameters);
  return { beta, labelSmoothing, ...(referenceWeights === undefined ? {} : { referenceWeights }) };
}
