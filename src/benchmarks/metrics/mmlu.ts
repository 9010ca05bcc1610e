/**
 * MMLU (Hendrycks et al. 2021), 5-shot: questions of 57 subjects with four options, after five examples of the subject's dev split, of which
 * the last are left out until the prompt fits. Two answers to each: the letter that the model writes (the benchmark's way: greedy, two
 * tokens, right if the trimmed text begins with the letter), and the letter that it finds the most probable.
 */
import type { ItemAnswer, ItemScore, MeasureInfo, Metric, MetricOptions, MetricSource, ModelAnswer, SubjectModel } from "../metric.js";
import { LETTERS, readChoiceSubjects } from "../question-sets/mmlu-files.js";
import type { ChoiceQuestion, ChoiceSubject } from "../question-sets/mmlu-files.js";
import { hashQuestions } from "../question-sets/question-records.js";
import type { ContinuationGroup } from "../../evaluation/continuations.js";
import { fitShots } from "./few-shot.js";
import type { FewShotPrompt } from "./few-shot.js";
import { checkSettingNames, integerSetting, limitItems } from "./limit.js";
import { questionsAt } from "./question-source.js";
import { choiceSetting } from "./settings.js";

const NAME = "mmlu";
const TITLE = "MMLU";
const DEFAULT_SHOTS = 5;
const DEFAULT_MAX_LENGTH = 2048;
const NEW_TOKENS = 2;
/** Questions of one subject follow each other, so a group computes the subject's examples once or twice. */
const GROUP_SIZE = 32;
const TOO_LONG = "the question does not fit into the context";

export interface ChoiceItem {
  readonly id: string;
  /** The subject. */
  readonly category: string;
  readonly question: ChoiceQuestion;
}

export const mmluSource: MetricSource = {
  name: NAME,
  title: TITLE,
  description: "questions of 57 subjects with four options, 5-shot; options scoring (both, generated, logprob), shots (5), maxLength (2048)",
  needs: { generation: true },
  create: createMetric,
};

async function createMetric(options: MetricOptions): Promise<Metric> {
  checkSettingNames(NAME, options, ["scoring", "shots", "maxLength"]);
  const scoring = choiceSetting(NAME, options, "scoring", ["both", "generated", "logprob"]);
  const shots = integerSetting(NAME, options, "shots", DEFAULT_SHOTS, 0);
  const maxLength = integerSetting(NAME, options, "maxLength", DEFAULT_MAX_LENGTH);
  const place = questionsAt(NAME, options);
  const subjects = await readChoiceSubjects("own" in place ? place.own : place.installed);
  const examples = new Map(subjects.map(({ name, dev }) => [name, dev]));
  const items = subjects.flatMap(({ name, test }) => test.map((question, index): ChoiceItem => ({ id: `${name}/${String(index)}`, category: name, question })));
  const asks = { generated: scoring !== "logprob", logprob: scoring !== "generated" };
  const metric: Metric<ChoiceItem> = {
    name: NAME,
    title: TITLE,
    categoryName: "subject",
    measures: [...(asks.generated ? measuresOf("accuracy", "written letter") : []), ...(asks.logprob ? measuresOf("accuracy_logprob", "probable letter") : [])],
    needs: asks.generated ? { generation: true } : {},
    groupSize: GROUP_SIZE,
    settings: { scoring, shots, maxLength, newTokens: NEW_TOKENS },
    items: limitItems(items, options),
    itemsSha256: hashQuestions(subjects satisfies readonly ChoiceSubject[]),
    answerItems: async ({ model }, group, signal) => {
      const maxTokens = Math.min(maxLength, model.contextLength - NEW_TOKENS);
      const prompts = group.map((item) => {
        const dev = examples.get(item.category) ?? [];
        return fitShots(model, { maxShots: Math.min(shots, dev.length), maxTokens, build: (numShots) => promptOf(item, dev.slice(0, numShots)) });
      });
      const fitting = prompts.flatMap((prompt, index) => (prompt === undefined ? [] : [{ prompt, key: group[index]?.id ?? "" }]));
      const written = asks.generated ? await writeLetters(model, fitting, signal) : [];
      const scored = asks.logprob ? await scoreLetters(model, fitting.map(({ prompt }) => prompt), signal) : [];
      let next = 0;
      return group.map(({ question }, index): ItemAnswer => {
        const prompt = prompts[index];
        if (prompt === undefined) return { turns: [{ prompt: blockOf(question), output: "", stop: "contextFull" }], numPromptTokens: 0, numTokens: 0 };
        const position = next++;
        return toAnswer(question, prompt, written[position], scored[position]);
      });
    },
    scoreItem: (_context, { question }, answer) => Promise.resolve(scoreAnswer(question, answer, asks)),
  };
  return metric;
}

/** Two means of one number: over questions, as the benchmark has it, and over subjects, as the paper has it. */
function measuresOf(measure: string, title: string): readonly MeasureInfo[] {
  const common = { displayFactor: 100, higherIsBetter: true };
  return [
    { measure, title, summary: "mean", ...common },
    { measure: `${measure}_by_subject`, title: `${title}, mean over subjects`, summary: "meanOfCategories", ...common },
  ];
}

/** The prompt up to where the letter is to come. */
export function promptOf({ category, question }: Pick<ChoiceItem, "category" | "question">, examples: readonly ChoiceQuestion[]): string {
  const header = `The following are multiple choice questions (with answers) about ${category.replaceAll("_", " ")}.\n\n`;
  return `${header}${examples.map((example) => `${blockOf(example)} ${LETTERS[example.answer] ?? ""}\n\n`).join("")}${blockOf(question)}`;
}

function blockOf({ question, choices }: ChoiceQuestion): string {
  return `${question}\n${choices.map((choice, index) => `${LETTERS[index] ?? ""}. ${choice}\n`).join("")}Answer:`;
}

function writeLetters(model: SubjectModel, prompts: readonly { readonly prompt: FewShotPrompt; readonly key: string }[], signal?: AbortSignal): Promise<readonly ModelAnswer[]> {
  if (prompts.length === 0) return Promise.resolve([]);
  return model.answer(prompts.map(({ prompt, key }) => ({ prompt: prompt.text, maxNewTokens: NEW_TOKENS, sampling: { temperature: 0 }, key })), signal);
}

/** Natural-log probabilities of the four letters after each prompt. */
async function scoreLetters(model: SubjectModel, prompts: readonly FewShotPrompt[], signal?: AbortSignal): Promise<readonly (readonly number[])[]> {
  if (prompts.length === 0) return [];
  const groups = prompts.map((prompt) => letterContinuations(model, prompt));
  return (await model.score(groups, signal)).map((scores) => scores.map(({ logProbability }) => logProbability));
}

/**
 * The prompt's tokens and those of each letter behind it, as the tokenizer writes the whole text. Where it joins the end of the prompt
 * with the letter, what the four have in common is the prompt.
 */
export function letterContinuations(model: Pick<SubjectModel, "tokenize">, prompt: Pick<FewShotPrompt, "text" | "tokens">): ContinuationGroup {
  const whole = LETTERS.map((letter) => model.tokenize(`${prompt.text} ${letter}`, true));
  const shortest = Math.min(...whole.map(({ length }) => length));
  // Each letter keeps one token at least.
  let common = Math.min(prompt.tokens.length, shortest - 1);
  const first = whole[0] ?? prompt.tokens;
  for (const tokens of [prompt.tokens, ...whole]) {
    const differs = tokens.subarray(0, common).findIndex((token, index) => token !== first[index]);
    if (differs >= 0) common = differs;
  }
  return { prompt: first.slice(0, common), continuations: whole.map((tokens) => tokens.slice(common)) };
}

function toAnswer(question: ChoiceQuestion, { tokens, numShots }: FewShotPrompt, written: ModelAnswer | undefined, logProbabilities: readonly number[] | undefined): ItemAnswer {
  return {
    // The examples before it are the same for the whole subject and are not stored with each question.
    turns: [{ prompt: blockOf(question), output: written?.text ?? "", ...(written === undefined ? {} : { stop: written.stop }) }],
    numPromptTokens: tokens.length,
    numTokens: written?.numTokens ?? 0,
    details: { numShots, ...(logProbabilities === undefined ? {} : { logProbabilities }) },
  };
}

/** A question that did not fit counts as wrong: the mean is over all questions. */
function scoreAnswer({ answer: right }: ChoiceQuestion, { turns: [turn], details }: ItemAnswer, asks: { readonly generated: boolean; readonly logprob: boolean }): readonly ItemScore[] {
  const letter = LETTERS[right] ?? "";
  const scoreBoth = (measure: string, isRight: boolean): ItemScore[] =>
    [measure, `${measure}_by_subject`].map((name) => ({ measure: name, value: isRight ? 1 : 0, ...(details === undefined ? { words: TOO_LONG } : {}) }));
  const logProbabilities = details?.["logProbabilities"] as readonly number[] | undefined;
  return [
    ...(asks.generated ? scoreBoth("accuracy", details !== undefined && (turn?.output ?? "").trim().startsWith(letter)) : []),
    ...(asks.logprob ? scoreBoth("accuracy_logprob", logProbabilities !== undefined && likeliest(logProbabilities) === right) : []),
  ];
}

/** The first of the largest. */
function likeliest(logProbabilities: readonly number[]): number {
  return logProbabilities.indexOf(Math.max(...logProbabilities));
}
