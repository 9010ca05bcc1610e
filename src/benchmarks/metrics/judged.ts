/**
 * What metrics that ask a judge share: the reference's sampling of answers, the judge's settings, and how a judge's words become a
 * score. The rubrics are each metric's own.
 */
import { problemError } from "../../errors.js";
import type { ChatMessage, ItemScore, MetricContext, MetricOptions, Sampling } from "../metric.js";
import { hashQuestions } from "../question-sets/question-records.js";
import { RATING_FORMS, parseRating } from "../rating.js";
import type { RatingForms, RatingScale } from "../rating.js";
import { integerSetting } from "./limit.js";
import { choiceSetting, numberSetting } from "./settings.js";

/** The benchmark samples from the 50 likeliest tokens at this temperature, where a category has none of its own. */
export const REFERENCE_TEMPERATURE = 0.7;
export const REFERENCE_TOP_K = 50;
/** Of ratings from 1 to 10. */
export const TEN_POINTS: RatingScale = { min: 1, max: 10 };

const JUDGE_TOKENS = 2048;

/** How answers are drawn. */
export interface AnswerSettings {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topK: number;
}

/** How the judge is asked and understood. */
export interface JudgeSettings {
  readonly judgeTemperature: number;
  readonly judgeMaxTokens: number;
  /** Forms of ratings that count. */
  readonly ratings: RatingForms;
}

export const ANSWER_SETTING_NAMES = ["maxNewTokens", "temperature", "topK"] as const;
export const JUDGE_SETTING_NAMES = ["judgeTemperature", "judgeMaxTokens", "ratings"] as const;

/** Throws CONFIG_INVALID. */
export function readAnswerSettings(metric: string, options: MetricOptions, maxNewTokens: number): AnswerSettings {
  return {
    maxNewTokens: integerSetting(metric, options, "maxNewTokens", maxNewTokens),
    temperature: numberSetting(metric, options, "temperature", REFERENCE_TEMPERATURE, { min: 0, max: 2 }),
    topK: integerSetting(metric, options, "topK", REFERENCE_TOP_K),
  };
}

/** Throws CONFIG_INVALID. */
export function readJudgeSettings(metric: string, options: MetricOptions, judgeTemperature: number): JudgeSettings {
  return {
    judgeTemperature: numberSetting(metric, options, "judgeTemperature", judgeTemperature, { min: 0, max: 2 }),
    judgeMaxTokens: integerSetting(metric, options, "judgeMaxTokens", JUDGE_TOKENS),
    ratings: choiceSetting(metric, options, "ratings", RATING_FORMS),
  };
}

/** Greedy at temperature 0, where the k likeliest tokens do not matter. */
export function samplingAt(temperature: number, topK: number): Sampling {
  return temperature === 0 ? { temperature } : { temperature, topK };
}

/** What is recorded of a rubric: its texts' hash, with marks where question and answer stand. */
export function hashRubric(messages: readonly (readonly ChatMessage[])[]): string {
  return hashQuestions(messages);
}

export interface JudgeQuestion {
  readonly measure: string;
  readonly messages: readonly ChatMessage[];
  readonly scale: RatingScale;
  readonly settings: JudgeSettings;
}

/** Asks the judge for one rating; words without a rating give null. Throws CONFIG_INVALID without a judge, JUDGE_FAILED, CANCELLED. */
export async function askForRating(
  metric: string,
  { judge }: Pick<MetricContext, "judge">,
  { measure, messages, scale, settings }: JudgeQuestion,
  signal?: AbortSignal,
): Promise<ItemScore> {
  if (judge === undefined) throw problemError("CONFIG_INVALID", { subject: `metric ${metric}`, expected: "a judge", received: "none" });
  const { text } = await judge.ask({ messages, temperature: settings.judgeTemperature, maxTokens: settings.judgeMaxTokens, ratings: scale }, signal);
  return { measure, value: parseRating(text, scale, settings.ratings), words: text, by: judge.name };
}

/** Text of others between marks that it cannot close by accident. */
export function quoted(title: string, text: string): string {
  return `=== ${title} ===\n${text}\n=== end of ${title} ===`;
}
