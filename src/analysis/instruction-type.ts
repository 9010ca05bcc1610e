/**
 * What an instruction asks for, as a verb and its object, found by word lists and not by a parser: an approximation, and one for
 * English only. A command begins with a known verb, perhaps after a polite opening; failing that, a question begins with a
 * question word, which stands for the verb. The object is the last word of the words that follow up to a preposition or a mark.
 */

export interface InstructionType {
  /** A verb, or the word a question begins with; in lower case. */
  readonly verb: string;
  readonly isQuestion: boolean;
  /** In lower case; absent if what follows is no noun as far as the rules can tell. */
  readonly object?: string;
}

const wordSet = (words: string) => new Set(words.split(" "));

const VERBS = wordSet(
  "add advise analyse analyze answer argue arrange assign brainstorm break build calculate categorize change check choose classify combine come " +
    "compare complete compose compute construct consider continue convert correct count create criticize debate debug define derive describe " +
    "design determine develop differentiate discuss divide draft draw edit elaborate estimate evaluate examine expand explain explore extract fill find " +
    "fix form formulate generate give group guess identify imagine implement improve include infer insert interpret introduce invent justify label " +
    "list look make match mention modify multiply name offer optimize organize outline paraphrase pick plan play point predict prepare present pretend " +
    "produce propose prove provide put rank rate read recommend reconstruct refactor rephrase replace reply research respond restate retell " +
    "return reverse review revise rewrite run say select sentence separate share show shorten simplify simulate solve sort speak spell split state " +
    "structure suggest summarise summarize supply take talk teach tell test think transform translate try turn use verify visualize work write",
);
const QUESTION_WORDS = wordSet(
  "what what's whats who who's whom whose which where when why how is are was were am do does did can could will would shall should has have had may might if",
);
/** Opens a command without being its verb. */
const OPENING =
  /^(?:please|kindly|hi|hello|hey|now|then|next|first|also|so|ok|okay|well|can you|could you|would you|will you|i want you to|i need you to|i would like you to|i'd like you to|i want to|i need to|help me to|help me|you should|you must|you will|your task is to|let us|let's)\b[\s,!]*/u;
/** Stands before a noun without being one. */
const SKIPPED = wordSet(
  "a an the this that these those my your his her its our their me us you him them it some any all each every both several many few more most one two three four five six seven " +
    "eight nine ten following given is are was were be do does did can could will would should has have had not",
);
/** Ends the words among which the object is. */
const ENDS = wordSet(
  "of in on at to for from with without about above after against along among around as before behind below between by during into like near off onto over per since than through " +
    "under until up upon using via within and or but nor so because if when where which who whose whom what why how whether while then please",
);
const LOOKED_AT_CHARACTERS = 2000;
const LOOKED_AT_SENTENCES = 12;
/** Noun phrases of requests are short; what is longer is a sentence without a preposition. */
const PHRASE_WORDS_MAX = 6;

/** The type of an instruction; undefined where the rules find none, as for all other languages. */
export function instructionTypeOf(instruction: string): InstructionType | undefined {
  const sentences = instruction
    .slice(0, LOOKED_AT_CHARACTERS)
    .toLowerCase()
    .replaceAll("’", "'")
    .split(/[.!?:;\n]+/u)
    .slice(0, LOOKED_AT_SENTENCES)
    .map((sentence) => withoutOpening(sentence.trim()));
  return findHead(sentences, VERBS, false) ?? findHead(sentences, QUESTION_WORDS, true);
}

function withoutOpening(sentence: string): string {
  const rest = sentence.replace(OPENING, "");
  return rest === sentence ? sentence : withoutOpening(rest);
}

function findHead(sentences: readonly string[], heads: ReadonlySet<string>, isQuestion: boolean): InstructionType | undefined {
  for (const sentence of sentences) {
    const [verb = "", ...rest] = sentence.split(/\s+/u);
    if (!heads.has(verb)) continue;
    const object = objectIn(rest);
    return { verb, isQuestion, ...(object === undefined ? {} : { object }) };
  }
  return undefined;
}

function objectIn(words: readonly string[]): string | undefined {
  const phrase: string[] = [];
  for (const word of words) {
    const [, plain = "", mark = ""] = /^["'([]*([\p{L}\p{N}'-]*)(.*)$/u.exec(word) ?? [];
    if (plain === "" || ENDS.has(plain)) break;
    if (!SKIPPED.has(plain) && !/^\d+$/u.test(plain)) phrase.push(plain.replace(/'s?$/u, ""));
    if (mark !== "" || phrase.length === PHRASE_WORDS_MAX) break;
  }
  return phrase.at(-1);
}
