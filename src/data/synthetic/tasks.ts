/**
 * The tasks of synthetic samples. Each question has one right answer that follows from the question and the text before it, and
 * goes on as long as it is asked to by a rule that a model can learn: every further sentence is the next one in a fixed order.
 *
 * - place, food, time: find a statement in a text; then the same subject with the next relation and the next object.
 * - sum, larger, next: numbers; then the same with the next numbers.
 */
import type { PythonRandom } from "../python-random.js";
import { NUMBER_TASKS, RELATIONS, lexiconOf, makePhrase } from "./lexicon.js";
import type { Lexicon, NumberTask, Phrase, Relation, SyntheticLanguage } from "./lexicon.js";
import { BYTES_PER_TOKEN } from "./profiles.js";

export const TASK_KINDS = [...RELATIONS, ...NUMBER_TASKS] as const;

export type TaskKind = (typeof TASK_KINDS)[number];

/** Numbers in questions are below this. */
const NUMBER_MAX = 100;

/** A question and the sentences of its answer. */
export interface Task {
  readonly kind: TaskKind;
  readonly question: string;
  /** What a right answer names: an object or a number. */
  readonly answer: string;
  /** Sentence `index` of the right answer, from 0; `shift` other than 0 makes it wrong. */
  readonly sentence: (index: number, shift: number) => Phrase;
}

/** A statement of a text. */
interface Fact {
  readonly relation: Relation;
  readonly subject: number;
  readonly object: number;
}

/** A text made of statements, in parts by day where subjects come back. */
interface Story {
  readonly text: string;
  readonly days: readonly (readonly Fact[])[];
}

export interface TaskRequest {
  readonly language: SyntheticLanguage;
  /** Taken if the instruction has room for it; otherwise it is one about numbers. */
  readonly kind: TaskKind;
  /** Length of the whole instruction in bytes, reached as closely as whole sentences allow. */
  readonly bytes: number;
}

/** A task, and the text that stands before its question; empty for none. */
export interface ToldTask {
  readonly task: Task;
  readonly story: string;
}

/** Length in the unit of the options. */
export function countTokens(text: string): number {
  return Buffer.byteLength(text) / BYTES_PER_TOKEN;
}

/** Draws a task. */
export function drawTask(random: PythonRandom, { language, kind, bytes }: TaskRequest): ToldTask {
  const lexicon = lexiconOf(language);
  const story = drawStory(random, lexicon, bytes - questionBytes(lexicon, kind));
  if (!isAboutText(kind)) return { task: drawNumberTask(random, lexicon, kind), story: story?.text ?? "" };
  if (story === undefined) {
    const other = NUMBER_TASKS[random.randbelow(NUMBER_TASKS.length)] ?? "sum";
    return { task: drawNumberTask(random, lexicon, other), story: "" };
  }
  const day = random.randbelow(story.days.length);
  const facts = story.days[day] ?? [];
  const fitting = facts.filter(({ relation }) => relation === kind);
  const candidates = fitting.length > 0 ? fitting : facts;
  const fact = candidates[random.randbelow(candidates.length)];
  if (fact === undefined) throw new RangeError("a day of a story has a statement");
  const opening = story.days.length > 1 ? lexicon.day({ n: day + 1 }) : undefined;
  return { task: factTask(lexicon, fact, opening), story: story.text };
}

/** Sentences joined as the language joins them. */
export function joinSentences(language: SyntheticLanguage, sentences: readonly string[]): string {
  return sentences.filter((text) => text !== "").join(lexiconOf(language).separator);
}

/** An answer of so many sentences. */
export function answerText(language: SyntheticLanguage, task: Task, numSentences: number, shift = 0): string {
  return joinSentences(
    language,
    Array.from({ length: numSentences }, (_, index) => task.sentence(index, shift).text),
  );
}

/** How many sentences of a task's answer come closest to a length in bytes, at least one. */
export function sentencesFor(language: SyntheticLanguage, task: Task, bytes: number): number {
  const between = Buffer.byteLength(lexiconOf(language).separator);
  let length = 0;
  for (let count = 0; ; count++) {
    const next = task.sentence(count, 0).bytes + (count === 0 ? 0 : between);
    if (count > 0 && length + next / 2 > bytes) return count;
    length += next;
  }
}

function isAboutText(kind: TaskKind): kind is Relation {
  return (RELATIONS as readonly string[]).includes(kind);
}

function factTask(lexicon: Lexicon, { relation, subject, object }: Fact, opening: string | undefined): Task {
  const s = lexicon.subjects[subject] ?? "";
  const question = lexicon.questions[relation]({ s });
  const start = RELATIONS.indexOf(relation);
  return {
    kind: relation,
    question: opening === undefined ? question : `${opening}${lexicon.separator}${question}`,
    answer: lexicon.objects[relation][object] ?? "",
    sentence: (index, shift) => {
      const told = RELATIONS[(start + index) % RELATIONS.length] ?? relation;
      const objects = lexicon.objects[told];
      return lexicon.statement(told, subject, (object + index + shift) % objects.length);
    },
  };
}

/** Sums go on with the next number a, comparisons with the next of both, successors with the next one. */
function drawNumberTask(random: PythonRandom, lexicon: Lexicon, kind: NumberTask): Task {
  const a = random.randbelow(NUMBER_MAX);
  const b = (a + 1 + random.randbelow(NUMBER_MAX - 1)) % NUMBER_MAX;
  const { question, answer } = lexicon.numbers[kind];
  const right = { sum: a + b, larger: Math.max(a, b), next: a + 1 }[kind];
  return {
    kind,
    question: question({ a, b }),
    answer: String(right),
    sentence: (index, shift) => {
      const c = right + index + shift;
      return makePhrase(answer({ a: a + index, b, c, d: Math.min(a, b) + index }));
    },
  };
}

/** Bytes of a question of this kind, near enough to plan with. */
function questionBytes(lexicon: Lexicon, kind: TaskKind): number {
  const [s = ""] = lexicon.subjects;
  return Buffer.byteLength(isAboutText(kind) ? lexicon.questions[kind]({ s }) : lexicon.numbers[kind].question({ a: 10, b: 10 }));
}

/** A text that fills so many bytes; undefined when one statement does not fit. */
function drawStory(random: PythonRandom, lexicon: Lexicon, bytes: number): Story | undefined {
  const between = Buffer.byteLength(lexicon.separator);
  const parts = [lexicon.read];
  let length = Buffer.byteLength(lexicon.read) + between;
  const days: Fact[][] = [];
  for (let isFull = false; !isFull; ) {
    const facts: Fact[] = [];
    const start = parts.length;
    for (const fact of drawFacts(random, lexicon)) {
      const { text, bytes: own } = lexicon.statement(fact.relation, fact.subject, fact.object);
      const next = own + between;
      isFull = length + next / 2 > bytes;
      if (isFull) break;
      parts.push(text);
      facts.push(fact);
      length += next;
    }
    if (facts.length === 0) break;
    days.push(facts);
    // Only a text of several days names them, the first one too.
    if (days.length === 1 && isFull) break;
    const name = lexicon.day({ n: days.length });
    parts.splice(start, 0, name);
    length += Buffer.byteLength(name) + between;
  }
  return days.length === 0 ? undefined : { text: parts.join(lexicon.separator), days };
}

/** Every subject with every relation once, in random order, each with a random object; drawn as they are asked for. */
function* drawFacts(random: PythonRandom, lexicon: Lexicon): Generator<Fact> {
  const count = lexicon.subjects.length * RELATIONS.length;
  const left = Array.from({ length: count }, (_, index) => index);
  for (let size = count; size > 0; size--) {
    const place = random.randbelow(size);
    const code = left[place] ?? 0;
    left[place] = left[size - 1] ?? 0;
    const relation = RELATIONS[code % RELATIONS.length] ?? "place";
    yield { relation, subject: Math.floor(code / RELATIONS.length), object: random.randbelow(lexicon.objects[relation].length) };
  }
}
