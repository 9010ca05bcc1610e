/**
 * A subject and a judge that follow rules which can be checked by hand, for tests of metrics: the subject has one token per byte and
 * answers by a function of the request, the judge by a function of what it is asked. Both keep what they were asked.
 */
import type { ContinuationGroup, ContinuationScore } from "../../src/evaluation/continuations.js";
import type { AnswerRequest, ChatMessage, Judge, JudgeRequest, ModelAnswer, SubjectModel } from "../../src/benchmarks/metric.js";
import { BOS_ID, createByteTokenizer } from "./byte-tokenizer.js";

export interface RuleSubject extends SubjectModel {
  readonly requests: AnswerRequest[];
  readonly groups: ContinuationGroup[];
}

export interface SubjectRules {
  /** What it says; default: nothing. */
  readonly say?: (prompt: string, request: AnswerRequest) => string;
  /** Log-probability of a continuation, as text; default: minus its length. */
  readonly logProbability?: (continuation: string, prompt: string) => number;
  readonly contextLength?: number;
}

/** Makes a subject. Prompts of messages are rendered as `role: content` lines. */
export function createRuleSubject({ say = () => "", logProbability = (text) => -text.length, contextLength = 4096 }: SubjectRules = {}): RuleSubject {
  const tokenizer = createByteTokenizer();
  const requests: AnswerRequest[] = [];
  const groups: ContinuationGroup[] = [];
  const tokenize = (text: string, addBos: boolean) => Int32Array.of(...(addBos ? [BOS_ID] : []), ...tokenizer.tokenize(text, false));
  const textOf = (tokens: Int32Array) => tokenizer.detokenize(tokens, false);
  const answer = (request: AnswerRequest): ModelAnswer => {
    requests.push(request);
    const prompt = typeof request.prompt === "string" ? request.prompt : renderMessages(request.prompt);
    const numPromptTokens = tokenize(prompt, true).length;
    if (numPromptTokens >= contextLength) return { text: "", stop: "contextFull", numPromptTokens, numTokens: 0 };
    const said = say(prompt, request);
    const [before = said] = (request.stopTexts ?? []).map((stop) => said.split(stop)[0] ?? said);
    const text = textOf(tokenizer.tokenize(before, false).subarray(0, request.maxNewTokens));
    const stop = text.length < before.length ? "maxTokens" : before.length < said.length ? "stopText" : "endToken";
    return { text, stop, numPromptTokens, numTokens: Buffer.byteLength(text) };
  };
  const score = ({ prompt, continuations }: ContinuationGroup): ContinuationScore[] =>
    continuations.map((tokens) => ({ logProbability: logProbability(textOf(tokens), textOf(prompt)), numTokens: tokens.length, isGreedy: false }));
  return {
    contextLength,
    requests,
    groups,
    answer: (asked) => Promise.resolve(asked.map(answer)),
    tokenize,
    tokenizeChat: (messages) => tokenize(renderMessages(messages), true),
    score: (asked) => {
      groups.push(...asked);
      return Promise.resolve(asked.map(score));
    },
  };
}

/** Makes a judge that replies by a rule. */
export function createRuleJudge(reply: (request: JudgeRequest) => string): Judge & { readonly requests: JudgeRequest[] } {
  const requests: JudgeRequest[] = [];
  return {
    name: "rule",
    requests,
    ask: (request) => {
      requests.push(request);
      const text = reply(request);
      return Promise.resolve({ text, numPromptTokens: renderMessages(request.messages).length, numCompletionTokens: text.length, cached: false });
    },
  };
}

/** `role: content`, a line each. */
export function renderMessages(messages: readonly ChatMessage[]): string {
  return messages.map(({ role, content }) => `${role}: ${content}`).join("\n");
}
