/** The section `data.generated`: synthetic client data that this program makes instead of reading a file. */
import { z } from "zod";
import { SYNTHETIC_LANGUAGES } from "../data/synthetic/lexicon.js";
import { PREFERENCE_STYLES, SYNTHETIC_PROFILE_NAMES } from "../data/synthetic/profiles.js";

/** Largest number of clients and samples; far above real use. */
const COUNT_MAX = 10_000_000;
const TOKENS_MAX = 8192;

const count = () => z.int().min(1).max(COUNT_MAX);
const share = () => z.number().min(0).max(1);
const spread = () => z.strictObject({ mean: z.number().min(1).max(TOKENS_MAX), deviation: z.number().min(0).max(TOKENS_MAX) });

export const generatedSection = z.strictObject({
  profile: z.enum(SYNTHETIC_PROFILE_NAMES).describe("published statistics that the data follows; demo: small"),
  seed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .default(1)
    .describe("seed of the data, which is another one than the experiment's"),
  kind: z.enum(["single-turn", "multi-turn", "preference"]).optional().describe("what a sample is"),
  numClients: count().optional().describe("clients; the mean number of samples stays when numSamples is not given"),
  numSamples: count().optional().describe("samples of all clients together"),
  minSamples: count().optional().describe("least samples of a client"),
  sizeDeviation: z.number().min(0).max(COUNT_MAX).optional().describe("standard deviation of the clients' sample counts"),
  languages: z
    .partialRecord(z.enum(SYNTHETIC_LANGUAGES), z.number().min(0))
    .optional()
    .describe("clients by main language, in proportion"),
  languageMixing: share().optional().describe("part of a client's samples in a language drawn from all"),
  taskMixing: share().optional().describe("part of a client's samples whose task is drawn from all"),
  instructionTokens: spread().optional().describe("length of instructions, in tokens of 4 bytes"),
  responseTokens: spread().optional().describe("length of responses, of pairs of the chosen ones"),
  lengthSkew: share().optional().describe("part of the variance of lengths (of their logarithm) that is between clients"),
  qualityNoise: z.number().min(0).max(0.5).optional().describe("mean part of bad answers; clients spread from 0 to twice this"),
  preferenceNoise: share().optional().describe("part of the pairs that are the wrong way round"),
  styles: z.array(z.enum(PREFERENCE_STYLES)).min(1).optional().describe("what users prefer, dealt out evenly"),
  meanTurns: z.number().min(1).max(100).optional().describe("mean number of questions in a conversation"),
  languageField: z.boolean().optional().describe("samples carry their language, for data.groups"),
});

export type GeneratedConfig = z.output<typeof generatedSection>;
