/**
 * What a benchmark metric is: questions, what the model is asked, and how an answer becomes numbers. The runner
 * (run-metric.ts) walks through a metric's items in groups of fixed composition, keeps every answer and score in SQLite as
 * soon as it is there, and goes on from them after a stop; metrics keep nothing. Answers depend on model, adapter, item
 * and seed alone, never on what was computed before, so an interrupted evaluation ends with the same bits.
 */
import type { Sample } from "../data/samples.js";
import type { ContinuationGroup, ContinuationScore } from "../evaluation/continuations.js";
import type { PairScore } from "../evaluation/preference.js";

/** One message of a conversation. */
export interface ChatMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string;
}

/** How an answer is drawn. */
export interface Sampling {
  /** 0: greedy. */
  readonly temperature: number;
  /** Only the k likeliest tokens; absent: all. */
  readonly topK?: number;
  /** The smallest set of likeliest tokens with at least this much probability, from 0 to 1; absent: all. */
  readonly topP?: number;
}

/** A conversation that the model under test continues. */
export interface AnswerRequest {
  /**
   * Ends with the user's turn. An array is rendered by the subject's template with its generation prompt; a string is
   * taken as it is, behind BOS where the model wants it.
   */
  readonly prompt: readonly ChatMessage[] | string;
  readonly maxNewTokens: number;
  readonly sampling: Sampling;
  /** Names the random stream together with the evaluation's seed: item, turn, repetition. Two requests with one key draw the same. */
  readonly key: string;
  /** The answer ends before the first of these texts. */
  readonly stopTexts?: readonly string[];
}

export interface ModelAnswer {
  readonly text: string;
  /** Why it ended: the model's end token, a stop text, the limit of tokens, or a prompt that left no room. */
  readonly stop: "endToken" | "stopText" | "maxTokens" | "contextFull";
  readonly numPromptTokens: number;
  readonly numTokens: number;
}

/** Log-probabilities of a whole sample as training writes it. */
export type SampleScores =
  | {
      readonly kind: "answer";
      /** Summed natural-log probability of the supervised tokens, those of the answers and their ends. */
      readonly logProbability: number;
      readonly numTokens: number;
      /** Supervised tokens that are the likeliest after the right ones before them. */
      readonly numCorrectTokens: number;
    }
  | {
      readonly kind: "pair";
      readonly policy: PairScore;
      /** Under the policy that rewards compare with: the base model, or the adapter that training began with. */
      readonly reference: PairScore;
      /** Rewards are beta (log policy - log reference). */
      readonly beta: number;
    }
  /** Nothing of it fits, or it does not go with the template. */
  | { readonly kind: "dropped"; readonly reason: string };

/** The model under test: a base model, maybe with an adapter, on one device. */
export interface SubjectModel {
  /** Tokens of context that generation may use, prompt included. */
  readonly contextLength: number;
  /** Answers in the order of the requests; all are computed together, their common beginnings once. */
  answer(requests: readonly AnswerRequest[], signal?: AbortSignal): Promise<readonly ModelAnswer[]>;
  /** Token ids; with `addBos` behind BOS where the model wants it. */
  tokenize(text: string, addBos: boolean): Int32Array;
  /** Token ids of a conversation by the subject's template, generation prompt included. */
  tokenizeChat(messages: readonly ChatMessage[]): Int32Array;
  /** Log-probabilities of given continuations, in order. */
  score(groups: readonly ContinuationGroup[], signal?: AbortSignal): Promise<readonly (readonly ContinuationScore[])[]>;
  /** Scores of samples of client data, in order, by the template and lengths of training. Absent: the subject knows neither. */
  scoreSamples?(samples: readonly Sample[], signal?: AbortSignal): Promise<readonly SampleScores[]>;
}

/** What a judge is asked: a whole conversation of its own. */
export interface JudgeRequest {
  readonly messages: readonly ChatMessage[];
  readonly temperature: number;
  readonly maxTokens: number;
  /** Ratings that may be given; a local judge is held to them by a grammar, a remote one by the prompt alone. */
  readonly ratings?: { readonly min: number; readonly max: number };
}

export interface JudgeReply {
  readonly text: string;
  readonly numPromptTokens: number;
  readonly numCompletionTokens: number;
  /** Whether an earlier reply to the same request was taken. */
  readonly cached: boolean;
}

/** A model that grades answers (src/judge). Safe for use by several items at once; bounds its own concurrency. */
export interface Judge {
  /** Model name as recorded beside each score; never a key. */
  readonly name: string;
  /** Rejects with JUDGE_FAILED when no reply could be had after all retries, CANCELLED after an abort. */
  ask(request: JudgeRequest, signal?: AbortSignal): Promise<JudgeReply>;
}

/** How a program ended (src/sandbox). */
export interface ProgramResult {
  readonly outcome: "passed" | "failed" | "timeout" | "memory" | "output" | "error";
  /** Last line of what went wrong, a few hundred characters at most; absent when passed. */
  readonly detail?: string;
  readonly durationMs: number;
}

/** Runs untrusted Python programs. Opened only with the user's consent. */
export interface CodeSandbox {
  readonly name: string;
  /** Defines `source`, then runs `check`; passed only if both end without an exception. */
  run(program: { readonly source: string; readonly check: string }, signal?: AbortSignal): Promise<ProgramResult>;
}

/** What a metric works with. */
export interface MetricContext {
  readonly model: SubjectModel;
  /** There when the metric says `needs.judge`. */
  readonly judge?: Judge;
  /** There when the metric says `needs.sandbox`. */
  readonly sandbox?: CodeSandbox;
  /** Of the evaluation; part of every random stream. */
  readonly seed: number;
}

/** What the model said to one item: each part has a place in the database and on the page. */
export interface ItemAnswer {
  /** Turns in order, prompts as text and what came back. */
  readonly turns: readonly { readonly prompt: string; readonly output: string; readonly stop?: ModelAnswer["stop"] }[];
  readonly numPromptTokens: number;
  readonly numTokens: number;
  /** More that scoring needs, JSON; for example log-probabilities of options. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** One number of one item. */
export interface ItemScore {
  /** Name within the metric, for example `turn1`, `accuracy_logprob`. */
  readonly measure: string;
  /** null: could not be told (an unparsable rating); left out of means and counted. */
  readonly value: number | null;
  /** The judge's or the program's words. */
  readonly words?: string;
  /** Name of the judge or of the rule. */
  readonly by?: string;
  /** How much it counts in means, above 0; absent: 1. For means over tokens, their number. */
  readonly weight?: number;
}

export interface MetricItem {
  /** Unique within the metric, the same for everybody who uses the question set. */
  readonly id: string;
  /** Category, language or subject; of which means are shown by themselves. */
  readonly category?: string;
}

/** A number of a metric that tables show, computed from items' scores. */
export interface MeasureInfo {
  readonly measure: string;
  readonly title: string;
  /** Mean over all items, or mean over the categories of the means within them. */
  readonly summary: "mean" | "meanOfCategories";
  /** Numbers are stored as they are (accuracy from 0 to 1, ratings from 1 to 10); tables multiply by this. */
  readonly displayFactor: number;
  readonly higherIsBetter: boolean;
  /** Nothing is stored under this name: it is the exponential of another measure's mean. */
  readonly exponentialOf?: string;
}

/**
 * A metric over items. `answerItems` is called with groups that are the same in every run (consecutive items, `groupSize` at
 * once) and must be a function of them; `scoreItem` is called for each item by itself, several at once, after its answer
 * is stored, and may be repeated.
 */
export interface Metric<Item extends MetricItem = MetricItem> {
  readonly name: string;
  readonly title: string;
  readonly measures: readonly MeasureInfo[];
  readonly needs: { readonly judge?: boolean; readonly sandbox?: boolean; readonly generation?: boolean };
  readonly groupSize: number;
  /** Settings that answers and scores depend on; recorded, and part of what decides whether stored answers may be kept. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly items: readonly Item[];
  /** SHA-256 over the question set's content. */
  readonly itemsSha256: string;
  /** What categories are, in the singular, for titles: client, language, subject. Means over clients are shown with their fairness. */
  readonly categoryName?: string;
  answerItems(context: MetricContext, items: readonly Item[], signal?: AbortSignal): Promise<readonly ItemAnswer[]>;
  scoreItem(context: Omit<MetricContext, "model">, item: Item, answer: ItemAnswer, signal?: AbortSignal): Promise<readonly ItemScore[]>;
}

/** Options of making a metric, as given by the user; each metric reads its own and refuses unknown ones (CONFIG_INVALID). */
export interface MetricOptions {
  /** Question file or folder of the user's own; absent: the set of that name, fetched before. */
  readonly file?: string;
  /** At most so many items, drawn with `seed` and kept in the set's order; absent: all. */
  readonly limit?: number;
  readonly seed: number;
  /** By metric's own names. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Held-out samples of the run under test, for metrics over client data; absent: there is no run, and a file takes their place. */
  readonly heldOut?: HeldOutParts;
}

/** What no client trained on. */
export interface HeldOutParts {
  /** The clients' own parts. */
  readonly clients: readonly HeldOutSample[];
  /** What every adapter is judged by in the run: a file of held-out samples by its users, or the same as the clients' parts. */
  readonly overall: readonly HeldOutSample[];
}

/** A sample that no client trained on. */
export interface HeldOutSample {
  readonly clientId: string;
  /** Among the client's held-out samples, from 0. */
  readonly index: number;
  readonly sample: Sample;
}

/** An entry of the registry (metrics/registry.ts): name -> how it is made. */
export interface MetricSource {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly needs: Metric["needs"];
  /** It asks for `heldOut` of its options. */
  readonly usesHeldOut?: boolean;
  create(options: MetricOptions): Promise<Metric>;
}
