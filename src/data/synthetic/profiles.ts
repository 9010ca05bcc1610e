/**
 * What a synthetic data set is made of, and profiles with the published statistics of FedLLM-Bench's data sets (Ye et al. 2024,
 * Table 1: clients, samples, and mean and spread of samples per client, instruction and response).
 *
 * Lengths are in tokens of BYTES_PER_TOKEN bytes of UTF-8. The table does not name its unit; measured so, the prompts that the
 * benchmark publishes for tests agree with it (WildChat 333 and 415 beside the table's 331 and 435, Chatbot 56 and 99 beside 68
 * and 119), measured in characters they do not.
 */
import { problemError } from "../../errors.js";
import { SYNTHETIC_LANGUAGES } from "./lexicon.js";
import type { SyntheticLanguage } from "./lexicon.js";

/** What tokenizers of multilingual models need on average; the unit of all lengths here. */
export const BYTES_PER_TOKEN = 4;

/** Mean and standard deviation over a whole population. */
export interface Spread {
  readonly mean: number;
  readonly deviation: number;
}

/** How a user tells a preferred answer from another one. */
export const PREFERENCE_STYLES = ["longer", "shorter", "friendly", "plain", "right"] as const;

export type PreferenceStyle = (typeof PREFERENCE_STYLES)[number];

export interface SyntheticOptions {
  readonly kind: "single-turn" | "multi-turn" | "preference";
  readonly numClients: number;
  /** Of all clients together. */
  readonly numSamples: number;
  /** Every client has at least so many. */
  readonly minSamples: number;
  /** Standard deviation of the clients' sample counts; 0: all are of one size. As far as the counts allow. */
  readonly sizeDeviation: number;
  /** Sizes in file order instead of drawn ones. */
  readonly sizes?: readonly number[];
  /** Shares of the clients by their main language, in proportion. */
  readonly languages: Partial<Readonly<Record<SyntheticLanguage, number>>>;
  /** Part of a client's samples in a language drawn from all. */
  readonly languageMixing: number;
  /** Part of a client's samples whose task is not its main one. */
  readonly taskMixing: number;
  /** Over all samples, in tokens; of conversations all turns of a side together. */
  readonly instructionTokens: Spread;
  /** Of preference pairs the chosen answer. */
  readonly responseTokens: Spread;
  /** Part of the variance of log lengths that is between clients, 0 to 1. */
  readonly lengthSkew: number;
  /** Mean part of a client's samples with a bad answer; clients spread evenly from 0 to twice this. */
  readonly qualityNoise: number;
  /** Part of the pairs that are the wrong way round; kind preference. */
  readonly preferenceNoise: number;
  /** What clients prefer, dealt out evenly; kind preference. */
  readonly styles: readonly PreferenceStyle[];
  /** Mean number of questions in a conversation; kind multi-turn. */
  readonly meanTurns: number;
  /** Samples carry a field `language`, for groups of clients. */
  readonly languageField: boolean;
}

const COMMON = {
  kind: "single-turn",
  languageMixing: 0.03,
  taskMixing: 0.3,
  lengthSkew: 0.2,
  qualityNoise: 0.1,
  preferenceNoise: 0.05,
  styles: PREFERENCE_STYLES,
  meanTurns: 3,
  languageField: false,
} as const;

const MOSTLY_ENGLISH = { en: 0.9, es: 0.03, fr: 0.02, ru: 0.02, de: 0.02, pt: 0.01 } as const;
/** As the 50 published test prompts of Fed-WildChat. */
const WILDCHAT_LANGUAGES = { en: 38, ru: 9, es: 1, zh: 1, pt: 1 } as const;

/** By name, and with `demo` one that is small enough to be trained in minutes on the built-in model. */
export const SYNTHETIC_PROFILES = {
  "fed-aya": {
    ...COMMON,
    numClients: 38,
    numSamples: 25_513,
    minSamples: 100,
    sizeDeviation: 815,
    // Published in a log of a run; they give the table's 671 and 815.
    sizes: [
      421, 1576, 5016, 418, 1555, 365, 783, 935, 1223, 795, 516, 476, 447, 614, 361, 1363, 298, 1418, 809, 192, 493, 289, 194, 139, 235, 209, 347, 713,
      533, 417, 175, 492, 271, 418, 293, 223, 270, 221,
    ],
    languages: { en: 1, es: 1, fr: 1, ru: 1, pt: 1, zh: 1, ar: 1, te: 1 },
    instructionTokens: { mean: 116, deviation: 199 },
    responseTokens: { mean: 225, deviation: 411 },
  },
  "fed-chatbot-it": {
    ...COMMON,
    numClients: 237,
    numSamples: 6166,
    minSamples: 10,
    sizeDeviation: 33,
    languages: MOSTLY_ENGLISH,
    instructionTokens: { mean: 68, deviation: 119 },
    responseTokens: { mean: 211, deviation: 176 },
  },
  "fed-wildchat": {
    ...COMMON,
    numClients: 100,
    numSamples: 52_703,
    minSamples: 200,
    sizeDeviation: 477,
    languages: WILDCHAT_LANGUAGES,
    instructionTokens: { mean: 331, deviation: 435 },
    responseTokens: { mean: 506, deviation: 470 },
  },
  // The table has no row for it: spreads are taken over from the single-turn variant.
  "fed-wildchat-multi": {
    ...COMMON,
    kind: "multi-turn",
    numClients: 50,
    numSamples: 15_406,
    minSamples: 100,
    sizeDeviation: 279,
    languages: WILDCHAT_LANGUAGES,
    instructionTokens: { mean: 331, deviation: 435 },
    responseTokens: { mean: 506, deviation: 470 },
  },
  "fed-chatbot-pa": {
    ...COMMON,
    kind: "preference",
    numClients: 747,
    numSamples: 9508,
    minSamples: 5,
    sizeDeviation: 21,
    languages: MOSTLY_ENGLISH,
    instructionTokens: { mean: 69, deviation: 124 },
    responseTokens: { mean: 218, deviation: 178 },
  },
  demo: {
    ...COMMON,
    numClients: 24,
    numSamples: 1200,
    minSamples: 10,
    sizeDeviation: 40,
    languages: { en: 1, es: 1, de: 1, fr: 1 },
    instructionTokens: { mean: 20, deviation: 10 },
    responseTokens: { mean: 15, deviation: 8 },
    languageField: true,
  },
} as const satisfies Readonly<Record<string, SyntheticOptions>>;

export type SyntheticProfile = keyof typeof SYNTHETIC_PROFILES;

export const SYNTHETIC_PROFILE_NAMES = Object.keys(SYNTHETIC_PROFILES) as [SyntheticProfile, ...SyntheticProfile[]];

/** Options that may differ from the profile. */
export type SyntheticChanges = { readonly [Name in keyof Omit<SyntheticOptions, "sizes">]?: SyntheticOptions[Name] | undefined };

/**
 * A profile with changes. With another number of clients and none of samples, the mean size stays; fewer samples than the clients'
 * least size times their number lower that size. Throws CONFIG_INVALID for what cannot be made.
 */
export function syntheticOptions(profile: SyntheticProfile, changes: SyntheticChanges = {}): SyntheticOptions {
  const base: SyntheticOptions = SYNTHETIC_PROFILES[profile];
  const { sizes, ...rest } = base;
  const given = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== undefined)) as Partial<SyntheticOptions>;
  const resizes = ["numClients", "numSamples", "minSamples", "sizeDeviation"].some((name) => Object.hasOwn(given, name));
  const numClients = given.numClients ?? base.numClients;
  const numSamples = given.numSamples ?? Math.round((base.numSamples / base.numClients) * numClients);
  const minSamples = given.minSamples ?? Math.min(base.minSamples, Math.max(1, Math.floor(numSamples / numClients)));
  const options: SyntheticOptions = {
    ...rest,
    ...given,
    numClients,
    numSamples,
    minSamples,
    ...(resizes || sizes === undefined ? {} : { sizes }),
  };
  checkOptions(options);
  return options;
}

function checkOptions({ numClients, numSamples, minSamples, languages, styles, kind, instructionTokens, responseTokens }: SyntheticOptions): void {
  if (numSamples < numClients * minSamples) {
    throw problemError("CONFIG_INVALID", {
      subject: "numSamples",
      expected: `at least ${String(numClients * minSamples)}, which is ${String(minSamples)} for each of ${String(numClients)} clients`,
      received: String(numSamples),
    });
  }
  const shares = Object.entries(languages);
  const unknown = shares.find(([language]) => !(SYNTHETIC_LANGUAGES as readonly string[]).includes(language));
  if (unknown !== undefined || !shares.some(([, share]) => share > 0) || shares.some(([, share]) => !(share >= 0))) {
    throw problemError("CONFIG_INVALID", {
      subject: "languages",
      expected: `shares of languages out of ${SYNTHETIC_LANGUAGES.join(", ")}, at least one of them above 0`,
      received: JSON.stringify(languages),
    });
  }
  if (kind === "preference" && styles.length === 0) {
    throw problemError("CONFIG_INVALID", { subject: "styles", expected: `at least one of ${PREFERENCE_STYLES.join(", ")}`, received: "none" });
  }
  for (const [subject, { mean, deviation }] of [["instructionTokens", instructionTokens], ["responseTokens", responseTokens]] as const) {
    if (mean > 0 && deviation >= 0) continue;
    throw problemError("CONFIG_INVALID", { subject, expected: "a mean above 0 and a deviation of at least 0", received: JSON.stringify({ mean, deviation }) });
  }
}
