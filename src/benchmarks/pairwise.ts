/**
 * A judge on two subjects' stored answers to the same items, each pair in both orders. Every verdict is kept as soon as it is there, so
 * a stop loses those underway alone; what is kept is not asked again, and what failed is.
 */
import { FedllmError, isFedllmError } from "../errors.js";
import { mapBounded } from "../federated/bounded.js";
import { askInOrder, ORDERS, pairwiseRequest, verdictOfOrders, winRateOf } from "../judge/pairwise.js";
import type { PairwiseItem, WinRate } from "../judge/pairwise.js";
import { deriveSeed } from "../util/random.js";
import { bootstrapInterval } from "./bootstrap.js";
import type { Interval } from "./bootstrap.js";
import type { ItemAnswer, Judge } from "./metric.js";
import { hashRubric } from "./metrics/judged.js";
import { storedVerdicts } from "./queries.js";
import type { StoredAnswer } from "./queries.js";
import type { EvaluationStore, VerdictRow } from "./store.js";

/** An item that both answered. */
export interface AnswerPair {
  /** Of the left side. */
  readonly seq: number;
  readonly itemId: string;
  readonly category: string | null;
  readonly shown: PairwiseItem;
}

export interface PairwiseRun {
  readonly store: EvaluationStore;
  readonly comparisonId: number;
  readonly pairs: readonly AnswerPair[];
  readonly judge: Judge;
  /** Counts orders, two for each item. */
  readonly onProgress?: (progress: { readonly numDone: number; readonly numTotal: number; readonly numKnown: number }) => void;
  readonly signal?: AbortSignal;
}

/** Verdicts on some items, as counts and rates of the left side. */
export interface PairwiseSummary extends WinRate {
  /** With verdicts in both orders, readable or not. */
  readonly numItems: number;
  /** Items whose readable verdicts differ between the orders; they are ties. */
  readonly numDisagreements: number;
  /** Share of them among items with two readable verdicts; NaN without any. */
  readonly disagreement: number;
  /** Of the adjusted win rate, over items; absent with fewer than two. */
  readonly interval?: Interval;
}

export interface ComparisonSummary {
  readonly overall: PairwiseSummary;
  /** In the order in which categories first appear. */
  readonly categories: readonly (PairwiseSummary & { readonly category: string })[];
  /** Items that lack a verdict in an order or both. */
  readonly numUnjudged: number;
  /** Of all verdicts that are kept. */
  readonly numPromptTokens: number;
  readonly numCompletionTokens: number;
}

/** Orders at once; judges bound their own concurrency below it. */
const MAX_ASKED_AT_ONCE = 16;
const ASKING = { temperature: 0, maxTokens: 1024 };

/** What verdicts depend on beside answers and judge. */
export function pairwiseSettings(): Readonly<Record<string, unknown>> {
  const marked = [1, 2].map((numTurns) => {
    const turnsOf = (side: string) => Array.from({ length: numTurns }, (_, turn) => ({ prompt: `{question${String(turn + 1)}}`, output: `{${side}${String(turn + 1)}}` }));
    return pairwiseRequest(shownPair(turnsOf("left"), turnsOf("right"))).messages;
  });
  return { judgeTemperature: ASKING.temperature, judgeMaxTokens: ASKING.maxTokens, rubricSha256: hashRubric(marked) };
}

/** The items that both answered, in the left side's order. */
export function pairAnswers(left: readonly StoredAnswer[], right: readonly StoredAnswer[]): AnswerPair[] {
  const others = new Map(right.map((answer) => [answer.itemId, answer]));
  return left.flatMap(({ seq, itemId, category, turns }) => {
    const other = others.get(itemId);
    return other === undefined ? [] : [{ seq, itemId, category, shown: shownPair(turns, other.turns) }];
  });
}

/** What the judge sees of a pair: one question and two answers, or a whole conversation of several turns, numbered. */
export function shownPair(left: ItemAnswer["turns"], right: ItemAnswer["turns"]): PairwiseItem {
  const numbered = (title: string, texts: readonly string[]) => (texts.length === 1 ? (texts[0] ?? "") : texts.map((text, turn) => `[${title} ${String(turn + 1)}]\n${text}`).join("\n\n"));
  const answersOf = (turns: ItemAnswer["turns"]) => numbered("Answer to message", turns.map(({ output }) => output));
  return { question: numbered("Message", left.map(({ prompt }) => prompt)), left: answersOf(left), right: answersOf(right) };
}

/** Asks for all verdicts that are missing. Rejects with CANCELLED after an abort; failures of the judge are stored. */
export async function judgePairs({ store, comparisonId, pairs, judge, onProgress, signal }: PairwiseRun): Promise<void> {
  const known = new Set(storedVerdicts(store.database, comparisonId).map(({ seq, shownFirst }) => `${String(seq)} ${shownFirst}`));
  const asked = pairs.flatMap((pair) => ORDERS.map((shownFirst) => ({ ...pair, shownFirst })));
  const missing = asked.filter(({ seq, shownFirst }) => !known.has(`${String(seq)} ${shownFirst}`));
  const numKnown = asked.length - missing.length;
  let numDone = numKnown;
  const progress = () => onProgress?.({ numDone, numTotal: asked.length, numKnown });
  progress();
  await mapBounded(missing, MAX_ASKED_AT_ONCE, signal, async ({ seq, shownFirst, shown }) => {
    try {
      const { verdict, reply } = await askInOrder(judge, shown, shownFirst, ASKING, signal);
      const { text: words, numPromptTokens, numCompletionTokens } = reply;
      store.keepVerdict(comparisonId, { seq, shownFirst, verdict, words, numPromptTokens, numCompletionTokens });
    } catch (error) {
      if (!isFedllmError(error, "JUDGE_FAILED") || signal?.aborted === true) throw error;
      store.keepUnjudged(comparisonId, { seq, shownFirst, code: error.code, reason: error.message });
    }
    numDone += 1;
    progress();
  });
  if (signal?.aborted === true) throw new FedllmError("CANCELLED", "the comparison was interrupted; its verdicts are kept", { cause: signal.reason });
}

/** What stored verdicts on these items come to. */
export function summarizeVerdicts(pairs: readonly AnswerPair[], verdicts: readonly VerdictRow[], seed: number): ComparisonSummary {
  const bySeq = new Map<number, VerdictRow[]>();
  for (const row of verdicts) bySeq.set(row.seq, [...(bySeq.get(row.seq) ?? []), row]);
  const judged = pairs.flatMap(({ seq, category }) => {
    const [first, second] = bySeq.get(seq) ?? [];
    return first === undefined || second === undefined ? [] : [{ category, orders: [first.verdict, second.verdict] as const }];
  });
  const names = [...new Set(judged.flatMap(({ category }) => category ?? []))];
  return {
    overall: summarize(judged, deriveSeed(seed, "pairwise")),
    categories: names.map((category) => ({ category, ...summarize(judged.filter((item) => item.category === category), deriveSeed(seed, "pairwise", category)) })),
    numUnjudged: pairs.length - judged.length,
    numPromptTokens: verdicts.reduce((sum, row) => sum + row.numPromptTokens, 0),
    numCompletionTokens: verdicts.reduce((sum, row) => sum + row.numCompletionTokens, 0),
  };
}

type Orders = readonly [VerdictRow["verdict"], VerdictRow["verdict"]];

/** What an item adds to the adjusted win rate. */
const WORTH = { left: 1, tie: 0.5, right: 0 } as const;

function summarize(items: readonly { readonly orders: Orders }[], seed: number): PairwiseSummary {
  const verdicts = items.map(({ orders }) => verdictOfOrders(...orders));
  const readable = verdicts.filter((verdict) => verdict !== null);
  const numDisagreements = items.filter(({ orders: [first, second] }) => first !== null && second !== null && first !== second).length;
  const interval = bootstrapInterval([readable.map((verdict) => ({ value: WORTH[verdict], weight: 1 }))], { seed });
  return { numItems: items.length, ...winRateOf(verdicts), numDisagreements, disagreement: numDisagreements / readable.length, ...(interval === undefined ? {} : { interval }) };
}
