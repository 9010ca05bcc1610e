/**
 * HumanEval (Chen et al. 2021): 164 stubs of Python functions with hidden checks. The model completes the function, the sandbox runs the check.
 * As in the benchmark's evaluation one program is drawn per problem, at temperature 0.1; of more programs pass@k is the unbiased estimate.
 */
import { problemError } from "../../errors.js";
import { passAtK } from "../pass-at-k.js";
import { programOf, referenceProgramOf } from "../program-text.js";
import type { CodeSandbox, ItemAnswer, ItemScore, Metric, MetricOptions, MetricSource, ProgramResult } from "../metric.js";
import { checkOf, readProgrammingProblems } from "../question-sets/programming-problems.js";
import type { ProgrammingProblem } from "../question-sets/programming-problems.js";
import { hashQuestions } from "../question-sets/question-records.js";
import { checkSettingNames, integerSetting, limitItems } from "./limit.js";
import { questionsAt } from "./question-source.js";
import { choiceSetting, numberSetting } from "./settings.js";

const NAME = "humaneval";
const TITLE = "HumanEval";
const NEEDS = { generation: true, sandbox: true };
const GROUP_SIZE = 8;
const MAX_NEW_TOKENS = 512;
const TEMPERATURE = 0.1;
const MAX_SAMPLES = 1000;
/** Shown as far as there are so many programs. */
const PASS_AT = [1, 10, 100];
const INSTRUCTION = "Complete this Python function. Reply with code only: no tests, no examples, no explanation.";
/** Where a text is continued and nobody said that the model should stop. */
const CONTINUATION_ENDS = ["\ndef ", "\nclass ", "\nif __name__", "\nprint(", "\nassert ", "\n# ", "\n```"];

/** How a stub is put to the model: as a user's message, or as text to go on with. */
const PROMPTS = ["chat", "continue"] as const;
const EXTRACTIONS = ["code", "reference"] as const;

export const humanEvalSource: MetricSource = {
  name: NAME,
  title: TITLE,
  description:
    "164 Python functions to complete, checked by running them; options samples (1), temperature (0.1), maxNewTokens (512), prompt: chat or continue, extraction: code or reference",
  needs: NEEDS,
  create: createMetric,
};

async function createMetric(options: MetricOptions): Promise<Metric> {
  checkSettingNames(NAME, options, ["samples", "temperature", "maxNewTokens", "prompt", "extraction"]);
  const samples = numberOfSamples(options);
  const temperature = numberSetting(NAME, options, "temperature", TEMPERATURE, { min: 0, max: 100 });
  const maxNewTokens = integerSetting(NAME, options, "maxNewTokens", MAX_NEW_TOKENS);
  const prompt = choiceSetting(NAME, options, "prompt", PROMPTS);
  const extraction = choiceSetting(NAME, options, "extraction", EXTRACTIONS);
  const place = questionsAt(NAME, options);
  const problems = await readProgrammingProblems("own" in place ? place.own : `${place.installed}/HumanEval.jsonl.gz`);
  const ks = PASS_AT.filter((k) => k <= samples);
  const requestsOf = (problem: ProgrammingProblem) =>
    Array.from({ length: samples }, (_, index) => ({
      prompt: promptOf(problem, prompt),
      maxNewTokens,
      sampling: { temperature },
      key: `${problem.id}#${String(index)}`,
      ...(prompt === "continue" && extraction === "code" ? { stopTexts: CONTINUATION_ENDS } : {}),
    }));
  const metric: Metric<ProgrammingProblem> = {
    name: NAME,
    title: TITLE,
    measures: ks.map((k) => ({ measure: measureOf(k), title: `pass@${String(k)}`, summary: "mean", displayFactor: 100, higherIsBetter: true })),
    needs: NEEDS,
    groupSize: GROUP_SIZE,
    settings: { samples, temperature, maxNewTokens, prompt, extraction, ...(prompt === "chat" ? { instruction: INSTRUCTION } : {}) },
    items: limitItems(problems, options),
    itemsSha256: hashQuestions(problems),
    answerItems: async ({ model }, group, signal) => {
      const answers = await model.answer(group.flatMap(requestsOf), signal);
      return group.map((problem, index): ItemAnswer => {
        const own = answers.slice(index * samples, (index + 1) * samples);
        return {
          turns: own.map(({ text, stop }) => ({ prompt: problem.prompt, output: text, stop })),
          numPromptTokens: own.reduce((sum, { numPromptTokens }) => sum + numPromptTokens, 0),
          numTokens: own.reduce((sum, { numTokens }) => sum + numTokens, 0),
        };
      });
    },
    scoreItem: async ({ sandbox }, problem, { turns }, signal) => {
      const build = extraction === "reference" ? referenceProgramOf : programOf;
      const results = await runAll(requireSandbox(sandbox), problem, turns.map(({ output }) => build(problem, output)), signal);
      return scoresOf(results, ks, requireSandbox(sandbox).name);
    },
  };
  return metric;
}

function numberOfSamples(options: MetricOptions): number {
  const samples = integerSetting(NAME, options, "samples", 1);
  if (samples <= MAX_SAMPLES) return samples;
  throw problemError("CONFIG_INVALID", { subject: `${NAME}.samples`, expected: `at most ${String(MAX_SAMPLES)}`, received: String(samples) });
}

const measureOf = (k: number): string => `pass_at_${String(k)}`;

function promptOf({ prompt }: ProgrammingProblem, form: (typeof PROMPTS)[number]) {
  return form === "continue" ? prompt : [{ role: "user" as const, content: `${INSTRUCTION}\n\n${prompt}` }];
}

function requireSandbox(sandbox: CodeSandbox | undefined): CodeSandbox {
  if (sandbox !== undefined) return sandbox;
  throw problemError("CODE_EXECUTION_REFUSED", {
    subject: `metric ${NAME}`,
    expected: "your consent to running programs that the model writes",
    received: "none",
    remedy: "Pass --allow-code-execution",
  });
}

/** Results in the order of the programs; equal ones are run once. What went wrong with the sandbox itself is tried a second time. */
async function runAll(sandbox: CodeSandbox, problem: ProgrammingProblem, sources: readonly string[], signal?: AbortSignal): Promise<readonly ProgramResult[]> {
  const known = new Map<string, Promise<ProgramResult>>();
  const check = checkOf(problem);
  const run = async (source: string): Promise<ProgramResult> => {
    const result = await sandbox.run({ source, check }, signal);
    return result.outcome === "error" ? sandbox.run({ source, check }, signal) : result;
  };
  const results = sources.map((source) => {
    const result = known.get(source) ?? run(source);
    known.set(source, result);
    return result;
  });
  return Promise.all(results);
}

function scoresOf(results: readonly ProgramResult[], ks: readonly number[], by: string): readonly ItemScore[] {
  const numRight = results.filter(({ outcome }) => outcome === "passed").length;
  const isUnknown = results.some(({ outcome }) => outcome === "error");
  const words = describe(results);
  return ks.map((k) => ({
    measure: measureOf(k),
    value: isUnknown ? null : passAtK({ numPrograms: results.length, numRight, k }),
    words,
    by,
  }));
}

/** Outcomes, of several programs with their numbers, and the first thing that went wrong. */
function describe(results: readonly ProgramResult[]): string {
  const detail = results.find((result) => result.detail !== undefined)?.detail;
  const outcomes = [...new Set(results.map(({ outcome }) => outcome))].map((outcome) =>
    results.length === 1 ? outcome : `${outcome} ${String(results.filter((result) => result.outcome === outcome).length)}`,
  );
  return outcomes.join(", ") + (detail === undefined ? "" : `: ${detail}`);
}
