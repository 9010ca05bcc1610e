/** Rewards of held-out pairs: how often and by how much the chosen answer is preferred to the rejected one (src/evaluation/preference.ts). */
import { summarizePairs } from "../../evaluation/preference.js";
import type { ItemAnswer, ItemScore, Metric, MetricSource } from "../metric.js";
import { loadClientItems, SET } from "./client-items.js";
import type { ClientItem } from "./client-items.js";
import { samplesError, scoredAnswer, storedScores } from "./held-out.js";
import { checkSettingNames } from "./limit.js";

const NAME = "preference";
const TITLE = "Held-out preferences";
const NEEDS = {};
const MEASURES = ["reward_accuracy", "reward_margin", "ranking_accuracy"] as const;

export const preferenceSource: MetricSource = {
  name: NAME,
  title: TITLE,
  description: "reward accuracy and margin on held-out pairs of answers; option set (clients, or overall)",
  needs: NEEDS,
  usesHeldOut: true,
  create: async (options) => {
    checkSettingNames(NAME, options, [SET]);
    const { items, itemsSha256 } = await loadClientItems(NAME, options, ({ kind }) => kind === "preference", "pairs of a chosen and a rejected answer");
    const metric: Metric<ClientItem> = {
      name: NAME,
      title: TITLE,
      categoryName: "client",
      measures: [
        { measure: "reward_accuracy", title: "reward accuracy", summary: "mean", displayFactor: 100, higherIsBetter: true },
        { measure: "reward_margin", title: "reward margin", summary: "mean", displayFactor: 1, higherIsBetter: true },
        { measure: "ranking_accuracy", title: "chosen more probable", summary: "mean", displayFactor: 100, higherIsBetter: true },
      ],
      needs: NEEDS,
      groupSize: 16,
      settings: {},
      items,
      itemsSha256,
      answerItems: async ({ model }, group, signal) => {
        if (model.scoreSamples === undefined) throw samplesError(NAME);
        return (await model.scoreSamples(group.map(({ sample }) => sample), signal)).map(scoredAnswer);
      },
      scoreItem: (_context, _item, answer) => Promise.resolve(scoresOf(answer)),
    };
    return metric;
  },
};

function scoresOf(answer: ItemAnswer): readonly ItemScore[] {
  const scores = storedScores(answer);
  if (scores.kind !== "pair") {
    const words = scores.kind === "dropped" ? scores.reason : "not scored as a pair";
    return MEASURES.map((measure) => ({ measure, value: null, words }));
  }
  const { policy, reference, beta } = scores;
  const { rewardAccuracy, rewardMargin } = summarizePairs([{ policy, reference }], { beta, labelSmoothing: 0 });
  const ranking = policy.chosen > policy.rejected ? 1 : policy.chosen === policy.rejected ? 0.5 : 0;
  return [
    { measure: "reward_accuracy", value: rewardAccuracy },
    { measure: "reward_margin", value: rewardMargin },
    { measure: "ranking_accuracy", value: ranking },
  ];
}
