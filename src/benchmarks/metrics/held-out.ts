/** Held-out loss, perplexity and token accuracy of client data, for all and by client. Nothing is generated. */
import { problemError } from "../../errors.js";
import type { ItemAnswer, ItemScore, Metric, MetricSource, SampleScores } from "../metric.js";
import { loadClientItems, SET } from "./client-items.js";
import type { ClientItem } from "./client-items.js";
import { checkSettingNames } from "./limit.js";

const NAME = "heldout";
const TITLE = "Held-out samples";
const NEEDS = {};

export const heldOutSource: MetricSource = {
  name: NAME,
  title: TITLE,
  description: "loss, perplexity and accuracy of the answers' tokens, given the right ones before them, on what clients hold out; option set (clients, or overall)",
  needs: NEEDS,
  usesHeldOut: true,
  create: async (options) => {
    checkSettingNames(NAME, options, [SET]);
    const { items, itemsSha256 } = await loadClientItems(NAME, options, ({ kind }) => kind !== "preference", "samples with answers, which are no pairs");
    const metric: Metric<ClientItem> = {
      name: NAME,
      title: TITLE,
      categoryName: "client",
      measures: [
        { measure: "loss", title: "held-out loss", summary: "mean", displayFactor: 1, higherIsBetter: false },
        { measure: "perplexity", title: "perplexity", summary: "mean", displayFactor: 1, higherIsBetter: false, exponentialOf: "loss" },
        { measure: "token_accuracy", title: "token accuracy", summary: "mean", displayFactor: 100, higherIsBetter: true },
      ],
      needs: NEEDS,
      groupSize: 32,
      settings: {},
      items,
      itemsSha256,
      answerItems: async ({ model }, group, signal) => {
        if (model.scoreSamples === undefined) throw samplesError(NAME);
        const scores = await model.scoreSamples(group.map(({ sample }) => sample), signal);
        return scores.map(scoredAnswer);
      },
      scoreItem: (_context, _item, answer) => Promise.resolve(scoresOf(answer)),
    };
    return metric;
  },
};

/** Where nobody said how samples become text. */
export function samplesError(metric: string): Error {
  return problemError("CONFIG_INVALID", { subject: `metric ${metric}`, expected: "a model with a template for samples", received: "none", remedy: "Choose one with --template" });
}

/** An answer that is nothing but the sample's scores. */
export function scoredAnswer(scores: SampleScores): ItemAnswer {
  return { turns: [], numPromptTokens: 0, numTokens: 0, details: { scores } };
}

/** What scoredAnswer put there. */
export function storedScores({ details }: ItemAnswer): SampleScores {
  return details?.["scores"] as SampleScores;
}

function scoresOf(answer: ItemAnswer): readonly ItemScore[] {
  const scores = storedScores(answer);
  if (scores.kind !== "answer" || scores.numTokens === 0) {
    const words = scores.kind === "dropped" ? scores.reason : "no token to judge by";
    return ["loss", "token_accuracy"].map((measure) => ({ measure, value: null, words }));
  }
  const { logProbability, numTokens, numCorrectTokens } = scores;
  return [
    { measure: "loss", value: -logProbability / numTokens, weight: numTokens },
    { measure: "token_accuracy", value: numCorrectTokens / numTokens, weight: numTokens },
  ];
}
