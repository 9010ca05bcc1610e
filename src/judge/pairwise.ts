/**
 * Which of two answers is better, asked in both orders, since judges favour the place: a verdict counts only when both orders give it
 * (Zheng et al. 2023, "Judging LLM-as-a-Judge with MT-Bench and Chatbot Arena"). The rubric is in our own words.
 */
import type { ChatMessage, Judge, JudgeReply } from "../benchmarks/metric.js";
import type { AskRequest } from "./answerer.js";

/** The better answer; null when a verdict could not be read. */
export type Verdict = "left" | "right" | "tie" | null;

/** Which answer is shown first, as A. */
export const ORDERS = ["left", "right"] as const;
export type ShownFirst = (typeof ORDERS)[number];

export interface PairwiseItem {
  readonly question: string;
  readonly left: string;
  readonly right: string;
  /** An answer that is known to be good. */
  readonly reference?: string;
}

export interface PairwiseOptions {
  readonly temperature?: number;
  readonly maxTokens?: number;
}

export interface PairwiseResult {
  readonly verdict: Verdict;
  /** With the left answer shown first, and shown second; both in terms of left and right. */
  readonly orders: readonly [Verdict, Verdict];
  /** The judge's words in the same order. */
  readonly words: readonly [string, string];
}

/** Ratings no further apart than this are equal. */
export const TIE_DIFFERENCE = 0.1;
/** Rounding of decimal ratings, so that 7.1 and 7 are 0.1 apart. */
const ROUNDING = 1e-9;

const RUBRIC = [
  "You compare two answers to the same request and decide which one serves the person who asked better.",
  "Look at whether each does what was asked, whether what it says is true, how complete and how clear it is, and whether it is in the language of the request.",
  "Length is no merit, nor is the order in which the answers are shown. Do not guess who wrote them.",
  "Explain your view in a few sentences. Then write your decision on a line of its own, exactly as [[A]] if answer A is better, [[B]] if answer B is better, or [[C]] if neither is.",
].join(" ");

/** Asks a judge about two answers in both orders. Rejects as Judge.ask. */
export async function comparePair(judge: Judge, item: PairwiseItem, options: PairwiseOptions = {}, signal?: AbortSignal): Promise<PairwiseResult> {
  const [first, second] = await Promise.all([askInOrder(judge, item, "left", options, signal), askInOrder(judge, item, "right", options, signal)]);
  const orders = [first.verdict, second.verdict] as const;
  return { verdict: verdictOfOrders(...orders), orders, words: [first.reply.text, second.reply.text] };
}

/** Asks in one order. The verdict is in terms of left and right, whichever was shown first. Rejects as Judge.ask. */
export async function askInOrder(
  judge: Judge,
  item: PairwiseItem,
  shownFirst: ShownFirst,
  options: PairwiseOptions = {},
  signal?: AbortSignal,
): Promise<{ readonly verdict: Verdict; readonly reply: JudgeReply }> {
  const shown = shownFirst === "left" ? item : { ...item, left: item.right, right: item.left };
  const reply = await judge.ask(pairwiseRequest(shown, options), signal);
  const verdict = readVerdict(reply.text);
  return { verdict: shownFirst === "left" ? verdict : swapped(verdict), reply };
}

/** What is asked with the left answer shown first, as A. */
export function pairwiseRequest({ question, left, right, reference }: PairwiseItem, { temperature = 0, maxTokens = 1024 }: PairwiseOptions = {}): AskRequest {
  const parts = [section("Request", question), ...(reference === undefined ? [] : [section("A good answer, to compare with", reference)]), section("Answer A", left), section("Answer B", right)];
  const messages: ChatMessage[] = [
    { role: "system", content: RUBRIC },
    { role: "user", content: parts.join("\n\n") },
  ];
  return { messages, temperature, maxTokens, choices: ["A", "B", "C"] };
}

function section(title: string, text: string): string {
  return `=== ${title} ===\n${text}\n=== end ===`;
}

/** The last [[A]], [[B]] or [[C]] of a reply, with A the left answer. */
export function readVerdict(text: string): Verdict {
  const letter = [...text.matchAll(/\[\[\s*([ABC])\s*\]\]/gu)].at(-1)?.[1];
  if (letter === undefined) return null;
  return letter === "A" ? "left" : letter === "B" ? "right" : "tie";
}

function swapped(verdict: Verdict): Verdict {
  if (verdict === "left") return "right";
  return verdict === "right" ? "left" : verdict;
}

/** One verdict of two orders: theirs when they agree, a tie when they do not, none when one could not be read. */
export function verdictOfOrders(first: Verdict, second: Verdict): Verdict {
  if (first === null || second === null) return null;
  return first === second ? first : "tie";
}

/** The verdict of two ratings of single answers: a tie when they are at most 0.1 apart. */
export function verdictOfRatings(left: number | null, right: number | null): Verdict {
  if (left === null || right === null) return null;
  if (Math.abs(left - right) <= TIE_DIFFERENCE + ROUNDING) return "tie";
  return left > right ? "left" : "right";
}

/** Counts of verdicts and the rates of the left side. */
export interface WinRate {
  readonly numWins: number;
  readonly numLosses: number;
  readonly numTies: number;
  /** Left out of the rates. */
  readonly numUnreadable: number;
  readonly winRate: number;
  /** A tie counts as half a win. */
  readonly adjustedWinRate: number;
}

/** Rates are NaN when no verdict could be read. */
export function winRateOf(verdicts: readonly Verdict[]): WinRate {
  const count = (wanted: Verdict) => verdicts.filter((verdict) => verdict === wanted).length;
  const [numWins, numLosses, numTies] = [count("left"), count("right"), count("tie")];
  const numJudged = numWins + numLosses + numTies;
  return { numWins, numLosses, numTies, numUnreadable: count(null), winRate: numWins / numJudged, adjustedWinRate: (numWins + numTies / 2) / numJudged };
}
