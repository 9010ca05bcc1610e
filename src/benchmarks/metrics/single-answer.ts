/** Metrics of one question and one answer, which a judge rates from 1 to 10: what the Vicuna bench and Ref-GPT4 have in common. */
import type { ChatMessage, Metric, MetricOptions, MetricSource } from "../metric.js";
import { readOpenQuestions } from "../question-sets/open-questions.js";
import type { OpenQuestion } from "../question-sets/open-questions.js";
import { hashQuestions } from "../question-sets/question-records.js";
import { ANSWER_SETTING_NAMES, JUDGE_SETTING_NAMES, TEN_POINTS, askForRating, hashRubric, readAnswerSettings, readJudgeSettings, samplingAt } from "./judged.js";
import { checkSettingNames, limitItems } from "./limit.js";
import { questionsAt } from "./question-source.js";

const NEEDS = { generation: true, judge: true };
const GROUP_SIZE = 16;
/** Of the benchmark's judge for these metrics. */
const JUDGE_TEMPERATURE = 0.2;
const MEASURE = "rating";

export interface SingleAnswerMetric {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  /** The question file in the installed set's folder. */
  readonly file: string;
  /** Most tokens of an answer, as in the benchmark. */
  readonly maxNewTokens: number;
  /** What categories are; absent: they have no means of their own. */
  readonly categoryName?: string;
  readonly summary: "mean" | "meanOfCategories";
  /** The conversation with the judge. */
  rubric(question: { readonly question: string; readonly reference?: string; readonly answer: string }): readonly ChatMessage[];
}

/** Makes the registry's entry. */
export function singleAnswerSource(kind: SingleAnswerMetric): MetricSource {
  const { name, title, description } = kind;
  return { name, title, description, needs: NEEDS, create: (options) => createMetric(kind, options) };
}

async function createMetric(kind: SingleAnswerMetric, options: MetricOptions): Promise<Metric> {
  const { name, title, file, categoryName, summary } = kind;
  checkSettingNames(name, options, [...ANSWER_SETTING_NAMES, ...JUDGE_SETTING_NAMES]);
  const answering = readAnswerSettings(name, options, kind.maxNewTokens);
  const judging = readJudgeSettings(name, options, JUDGE_TEMPERATURE);
  const place = questionsAt(name, options);
  const questions = await readOpenQuestions("own" in place ? place.own : `${place.installed}/${file}`, 1);
  const marks = { question: "{question}", answer: "{answer}" };
  const rubricSha256 = hashRubric([kind.rubric(marks), kind.rubric({ ...marks, reference: "{reference}" })]);
  const metric: Metric<OpenQuestion> = {
    name,
    title,
    ...(categoryName === undefined ? {} : { categoryName }),
    measures: [{ measure: MEASURE, title: "rating", summary, displayFactor: 1, higherIsBetter: true }],
    needs: NEEDS,
    groupSize: GROUP_SIZE,
    settings: { ...answering, ...judging, rubricSha256 },
    items: limitItems(questions, options),
    itemsSha256: hashQuestions(questions),
    answerItems: async ({ model }, group, signal) => {
      const { maxNewTokens, temperature, topK } = answering;
      const sampling = samplingAt(temperature, topK);
      const requests = group.map(({ id, turns }) => ({ prompt: [{ role: "user" as const, content: turns[0] ?? "" }], maxNewTokens, sampling, key: id }));
      const answers = await model.answer(requests, signal);
      return answers.map(({ text, stop, numPromptTokens, numTokens }, index) => ({
        turns: [{ prompt: group[index]?.turns[0] ?? "", output: text, stop }],
        numPromptTokens,
        numTokens,
      }));
    },
    scoreItem: async (context, { turns, references }, answer, signal) => {
      const reference = references?.[0];
      const messages = kind.rubric({ question: turns[0] ?? "", answer: answer.turns[0]?.output ?? "", ...(reference === undefined ? {} : { reference }) });
      return [await askForRating(name, context, { measure: MEASURE, messages, scale: TEN_POINTS, settings: judging }, signal)];
    },
  };
  return metric;
}
