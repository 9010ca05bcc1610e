/**
 * Federated instruction and preference data with known truth, from a seed: clients of unequal size, each with a main language, a
 * main task, a share of bad answers and, for pairs, something it prefers. Clients come one after another, so a data set of any
 * size needs the memory of its largest client and two numbers a sample. The same options and seed give the same samples.
 */
import { assert } from "../../util/assert.js";
import { deriveSeed } from "../../util/random.js";
import { PythonRandom } from "../python-random.js";
import { SYNTHETIC_LANGUAGES } from "./lexicon.js";
import type { SyntheticLanguage } from "./lexicon.js";
import { BYTES_PER_TOKEN } from "./profiles.js";
import type { PreferenceStyle, Spread, SyntheticOptions } from "./profiles.js";
import { drawConversation, drawPair, drawSingleTurn } from "./samples.js";
import type { QualityLevel, SampleRequest, SyntheticSample } from "./samples.js";
import { apportion, drawNormal, drawSizes, fitLogNormal } from "./spread.js";
import { TASK_KINDS } from "./tasks.js";
import type { TaskKind } from "./tasks.js";

/** What is true of a client; not in the data. */
export interface ClientTruth {
  readonly id: string;
  readonly numSamples: number;
  readonly language: SyntheticLanguage;
  readonly task: TaskKind;
  /** Probability of a bad answer. */
  readonly qualityNoise: number;
  /** What it prefers; kind preference. */
  readonly style?: PreferenceStyle;
}

export interface SyntheticClient {
  readonly truth: ClientTruth;
  readonly samples: readonly SyntheticSample[];
}

/** Shortest and longest instruction or response that is asked for, in tokens; real data is cut about there too. */
const TOKENS_MIN = 8;
const TOKENS_MAX = 8192;
/** How much of what samples were too long or short by is made up for by later ones, in bytes. */
const CARRY_MAX = 4096;

/** Makes the clients of a data set in order. */
export function* generateClients(options: SyntheticOptions, seed: number): Generator<SyntheticClient> {
  const clients = drawClients(options, seed);
  const wanted = drawSampleLengths(options, clients, seed);
  const instructions = new LengthPlan(wanted.instructions);
  const responses = new LengthPlan(wanted.responses);
  for (const truth of clients) {
    const random = new PythonRandom(deriveSeed(seed, "samples", truth.id));
    const samples = Array.from({ length: truth.numSamples }, () => {
      const request = {
        language: random.random() < options.languageMixing ? drawLanguage(random, options) : truth.language,
        kind: random.random() < options.taskMixing ? pick(TASK_KINDS, random) : truth.task,
        quality: drawQuality(random, truth.qualityNoise),
        instructionBytes: instructions.next() * BYTES_PER_TOKEN,
        responseBytes: responses.next() * BYTES_PER_TOKEN,
      };
      const sample = drawSample(random, options, truth, request);
      instructions.settle(sample.truth.instructionTokens);
      responses.settle(sample.truth.responseTokens);
      if (!options.languageField) return sample;
      return { ...sample, record: { ...sample.record, language: request.language } };
    });
    yield { truth, samples };
  }
}

/** The clients without their samples. */
export function drawClients(options: SyntheticOptions, seed: number): ClientTruth[] {
  const { numClients, numSamples, minSamples, sizeDeviation, languages, styles, kind, qualityNoise } = options;
  const random = new PythonRandom(deriveSeed(seed, "clients"));
  const sizes = options.sizes ?? drawSizes(random, numClients, numSamples, minSamples, sizeDeviation);
  const deal = <T>(values: readonly T[], shares: readonly number[]): T[] => {
    const sum = shares.reduce((before, share) => before + share, 0);
    const counts = apportion(shares.map((share) => (share / sum) * numClients), numClients);
    const dealt = values.flatMap((value, index) => new Array<T>(counts[index] ?? 0).fill(value));
    random.shuffle(dealt);
    return dealt;
  };
  const evenly = (values: readonly unknown[]) => values.map(() => 1);
  const mainLanguages = deal(SYNTHETIC_LANGUAGES, SYNTHETIC_LANGUAGES.map((language) => languages[language] ?? 0));
  const tasks = deal(TASK_KINDS, evenly(TASK_KINDS));
  const preferred = kind === "preference" ? deal(styles, evenly(styles)) : [];
  const digits = String(numClients).length;
  return sizes.map((size, index) => {
    const [language, task, style] = [mainLanguages[index], tasks[index], preferred[index]];
    assert(language !== undefined && task !== undefined, "as many were dealt as there are clients");
    return {
      id: `synthetic_user_${String(index + 1).padStart(digits, "0")}`,
      numSamples: size,
      language,
      task,
      qualityNoise: Math.min(1, 2 * qualityNoise * random.random()),
      ...(style === undefined ? {} : { style }),
    };
  });
}

/** Tokens that the samples will have, in order, up to what whole sentences are off by. */
export function drawSampleLengths(
  options: SyntheticOptions,
  clients: readonly ClientTruth[],
  seed: number,
): { readonly instructions: Float64Array; readonly responses: Float64Array } {
  return {
    instructions: drawLengths(options, options.instructionTokens, clients, deriveSeed(seed, "instruction lengths")),
    responses: drawLengths(options, options.responseTokens, clients, deriveSeed(seed, "response lengths")),
  };
}

/** Wanted tokens of each sample, in order. Part of what tells them apart is the client's. */
function drawLengths({ lengthSkew }: SyntheticOptions, spread: Spread, clients: readonly ClientTruth[], seed: number): Float64Array {
  const random = new PythonRandom(seed);
  const z = new Float64Array(clients.reduce((sum, { numSamples }) => sum + numSamples, 0));
  let position = 0;
  for (const { numSamples } of clients) {
    const own = Math.sqrt(lengthSkew) * drawNormal(random);
    const end = position + numSamples;
    for (; position < end; position++) z[position] = own + Math.sqrt(1 - lengthSkew) * drawNormal(random);
  }
  return fitLogNormal(z, spread, TOKENS_MIN, TOKENS_MAX);
}

/** Hands out wanted lengths; what a sample of whole sentences was off by is added to the next one. */
class LengthPlan {
  private readonly wanted: Float64Array;
  private position = 0;
  private carry = 0;

  constructor(wanted: Float64Array) {
    this.wanted = wanted;
  }

  next(): number {
    return Math.max(TOKENS_MIN, (this.wanted[this.position] ?? 0) + this.carry);
  }

  settle(actual: number): void {
    const carry = this.carry + (this.wanted[this.position++] ?? 0) - actual;
    this.carry = Math.max(-CARRY_MAX, Math.min(CARRY_MAX, carry * BYTES_PER_TOKEN)) / BYTES_PER_TOKEN;
  }
}

function drawSample(random: PythonRandom, options: SyntheticOptions, client: ClientTruth, request: SampleRequest): SyntheticSample {
  if (options.kind === "single-turn") return drawSingleTurn(random, request);
  if (options.kind === "multi-turn") return drawConversation(random, request, drawTurns(random, options.meanTurns));
  assert(client.style !== undefined, "every client of pairs prefers something");
  return drawPair(random, request, client.style, random.random() < options.preferenceNoise);
}

/** 1 or more, geometric with this mean. */
function drawTurns(random: PythonRandom, mean: number): number {
  if (mean <= 1) return 1;
  return 1 + Math.floor(Math.log(1 - random.random()) / Math.log(1 - 1 / mean));
}

function drawQuality(random: PythonRandom, noise: number): QualityLevel {
  if (random.random() >= noise) return "good";
  return random.random() < 0.5 ? "wrong" : "unrelated";
}

function drawLanguage(random: PythonRandom, { languages }: SyntheticOptions): SyntheticLanguage {
  const shares = SYNTHETIC_LANGUAGES.map((language) => [language, languages[language] ?? 0] as const);
  let left = random.random() * shares.reduce((sum, [, share]) => sum + share, 0);
  for (const [language, share] of shares) {
    left -= share;
    if (left < 0) return language;
  }
  return shares.findLast(([, share]) => share > 0)?.[0] ?? "en";
}

function pick<T>(values: readonly T[], random: PythonRandom): T {
  const value = values[random.randbelow(values.length)];
  assert(value !== undefined, "there is something to pick from");
  return value;
}
