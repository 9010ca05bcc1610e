/** How the metrics of runs are called and shown, and which of them a study is about first. */
import type { StudyMetric } from "./study.js";

const percent = (metric: string, title: string): StudyMetric => ({ metric, title: `${title}, %`, displayFactor: 100, digits: 1, higherIsBetter: true });

/** In the order of tables; the first that a study has is its main one. */
const KNOWN: readonly StudyMetric[] = [
  { metric: "heldout_loss", title: "held-out loss", displayFactor: 1, digits: 4, higherIsBetter: false },
  { metric: "heldout_dpo_loss", title: "held-out DPO loss", displayFactor: 1, digits: 4, higherIsBetter: false },
  percent("heldout_exact_match", "exact match"),
  percent("heldout_token_accuracy", "token accuracy"),
  { metric: "perplexity", title: "perplexity", displayFactor: 1, digits: 3, higherIsBetter: false },
  percent("heldout_reward_accuracy", "reward accuracy"),
  percent("heldout_ranking_accuracy", "ranking accuracy"),
  { metric: "heldout_reward_margin", title: "reward margin", displayFactor: 1, digits: 3, higherIsBetter: true },
];

/** Title and form of a metric; `name@kind` is the metric of another kind of adapter or model, as it is called in runs. */
export function describeMetric(name: string): StudyMetric {
  const [plain = name, kind] = name.split("@");
  const known = KNOWN.find(({ metric }) => metric === plain) ?? { metric: plain, title: plain.replaceAll("_", " "), displayFactor: 1, digits: 4 };
  return { ...known, metric: name, title: kind === undefined ? known.title : `${known.title} (${kind})` };
}

/** Descriptions in the order of tables: known ones first, then the others by name. */
export function describeMetrics(names: Iterable<string>): StudyMetric[] {
  const place = (name: string) => {
    const index = KNOWN.findIndex(({ metric }) => metric === name.split("@")[0]);
    return index < 0 ? KNOWN.length : index;
  };
  const rank = (name: string) => (name.includes("@") ? KNOWN.length + 1 : 0) + place(name);
  return [...new Set(names)].sort((left, right) => rank(left) - rank(right) || (left < right ? -1 : 1)).map(describeMetric);
}
