/**
 * GSM8K (Cobbe et al. 2021): problems in words whose answer is a number. Greedy, after fixed worked examples that were written for this
 * project; the number after `####` counts, else what the solution says last (number-answer.ts).
 */
import type { ItemAnswer, ItemScore, Metric, MetricOptions, MetricSource } from "../metric.js";
import { extractNumber, isSameNumber } from "../number-answer.js";
import { readMathProblems } from "../question-sets/gsm8k-questions.js";
import type { MathProblem } from "../question-sets/gsm8k-questions.js";
import { hashQuestions } from "../question-sets/question-records.js";
import { fitShots } from "./few-shot.js";
import { checkSettingNames, integerSetting, limitItems } from "./limit.js";
import { questionsAt } from "./question-source.js";

const NAME = "gsm8k";
const TITLE = "GSM8K";
const NEEDS = { generation: true };
const GROUP_SIZE = 16;
const MAX_NEW_TOKENS = 320;
const DEFAULT_MAX_LENGTH = 2048;
const NEXT_QUESTION = "\nQuestion:";

const EXAMPLES: readonly { readonly question: string; readonly solution: string }[] = [
  {
    question: "A baker makes 6 trays of rolls with 12 rolls on each tray. She sells 50 rolls before noon. How many rolls are left?",
    solution: "The baker makes 6 * 12 = 72 rolls. After selling 50 there are 72 - 50 = 22 rolls left.\n#### 22",
  },
  {
    question: "Tom walks 3 kilometres to school and the same way back, five days a week. How many kilometres does he walk in 4 weeks?",
    solution: "Each day Tom walks 3 + 3 = 6 kilometres. In a week that is 6 * 5 = 30 kilometres, and in 4 weeks 30 * 4 = 120 kilometres.\n#### 120",
  },
  {
    question: "A coat costs $80. In the sale it is a quarter cheaper, and Lena has a coupon for another $10. What does she pay in dollars?",
    solution: "A quarter of 80 is 80 / 4 = 20, so the sale price is 80 - 20 = 60 dollars. With the coupon she pays 60 - 10 = 50 dollars.\n#### 50",
  },
  {
    question: "There are 45 children on three buses. The first bus has twice as many children as the second, and the third has 15. How many are on the first bus?",
    solution: "Without the third bus there are 45 - 15 = 30 children. The second bus has one part and the first two parts, three in all, so one part is 30 / 3 = 10. The first bus has 2 * 10 = 20 children.\n#### 20",
  },
];

export const gsm8kSource: MetricSource = {
  name: NAME,
  title: TITLE,
  description: "1319 problems whose answer is a number, greedy after worked examples; options shots (4), maxNewTokens (320), maxLength (2048)",
  needs: NEEDS,
  create: createMetric,
};

async function createMetric(options: MetricOptions): Promise<Metric> {
  checkSettingNames(NAME, options, ["shots", "maxNewTokens", "maxLength"]);
  const shots = Math.min(integerSetting(NAME, options, "shots", EXAMPLES.length, 0), EXAMPLES.length);
  const maxNewTokens = integerSetting(NAME, options, "maxNewTokens", MAX_NEW_TOKENS);
  const maxLength = integerSetting(NAME, options, "maxLength", DEFAULT_MAX_LENGTH);
  const place = questionsAt(NAME, options);
  const problems = await readMathProblems("own" in place ? place.own : `${place.installed}/test.jsonl`);
  const metric: Metric<MathProblem> = {
    name: NAME,
    title: TITLE,
    measures: [{ measure: "accuracy", title: "accuracy", summary: "mean", displayFactor: 100, higherIsBetter: true }],
    needs: NEEDS,
    groupSize: GROUP_SIZE,
    settings: { shots, maxNewTokens, maxLength, examplesSha256: hashQuestions(EXAMPLES) },
    items: limitItems(problems, options),
    itemsSha256: hashQuestions(problems),
    answerItems: async ({ model }, group, signal) => {
      const maxTokens = Math.min(maxLength, model.contextLength - maxNewTokens);
      // A problem that does not fit is asked without examples, and the subject says that its context is full.
      const prompts = group.map(({ question }) => {
        const build = (numShots: number) => promptOf(question, numShots);
        return fitShots(model, { maxShots: shots, maxTokens, build })?.text ?? build(0);
      });
      const requests = group.map(({ id }, index) => ({ prompt: prompts[index] ?? "", maxNewTokens, sampling: { temperature: 0 }, key: id, stopTexts: [NEXT_QUESTION] }));
      const answers = await model.answer(requests, signal);
      return answers.map(({ text, stop, numPromptTokens, numTokens }, index): ItemAnswer => ({ turns: [{ prompt: group[index]?.question ?? "", output: text, stop }], numPromptTokens, numTokens }));
    },
    scoreItem: (_context, { answer: right }, { turns: [turn] }) => Promise.resolve([scoreSolution(turn?.output ?? "", right)]),
  };
  return metric;
}

function promptOf(question: string, numShots: number): string {
  const examples = EXAMPLES.slice(0, numShots).map((example) => `Question: ${example.question}\nAnswer: ${example.solution}\n\n`);
  return `${examples.join("")}Question: ${question}\nAnswer:`;
}

function scoreSolution(solution: string, right: number): ItemScore {
  const given = extractNumber(solution);
  return { measure: "accuracy", value: given !== undefined && isSameNumber(given, right) ? 1 : 0, words: given === undefined ? "no number" : String(given) };
}
