/** The judge of an evaluation as a user describes it: an OpenAI-compatible endpoint, or a GGUF file. */
import { z } from "zod";
import { GENERATION_DEVICES } from "./names.js";

const positive = z.number().positive();

/** Exactly one of `baseUrl` (with `model`) and `gguf`. */
export const judgeSchema = z
  .strictObject({
    baseUrl: z.string().min(1).optional().describe("address of an OpenAI-compatible endpoint, up to and without /chat/completions, for example http://127.0.0.1:8080/v1"),
    model: z.string().min(1).optional().describe("model that the endpoint is asked for"),
    apiKeyEnv: z
      .string()
      // Names as they are usual: what a key looks like is not taken, and so never shown as a name.
      .regex(/^[A-Z_][A-Z0-9_]{0,63}$/u, "expected the name of an environment variable in capital letters, never a key itself")
      .optional()
      .describe("environment variable that holds the key; default: none is sent"),
    allowHttp: z.boolean().default(false).describe("lets the key go over plain HTTP to another machine"),
    temperature: z.union([z.number().min(0).max(2), z.literal("omit")]).optional().describe("instead of what each metric asks for; omit sends none, for models that take none"),
    tokenLimitField: z.enum(["max_tokens", "max_completion_tokens"]).default("max_tokens").describe("what the endpoint calls the limit of new tokens"),
    extraBody: z.record(z.string(), z.unknown()).default({}).describe("more fields of each request, for example reasoning_effort"),
    timeoutSeconds: positive.max(3600).default(120).describe("of one attempt"),
    maxAttempts: z.number().int().min(1).max(20).default(6).describe("attempts of one request after 429, 5xx and broken connections"),
    gguf: z.string().min(1).optional().describe("GGUF file of a local judge, whose ratings are held to their form by a grammar"),
    contextLength: z.number().int().min(256).default(4096).describe("tokens of a local judge's context"),
    device: z.enum(GENERATION_DEVICES).default("cpu").describe("what computes a local judge"),
    numThreads: z.number().int().min(1).max(512).optional().describe("compute threads of a local judge; default: those of the machine"),
    concurrency: z.number().int().min(1).max(256).optional().describe("requests at once; default 4, of a local judge 1"),
    cache: z.boolean().default(true).describe("takes earlier replies to the same request from the user's cache folder"),
    prices: z
      .strictObject({ promptPerMillion: z.number().nonnegative(), completionPerMillion: z.number().nonnegative(), currency: z.string().min(1).max(8).default("USD") })
      .optional()
      .describe("money for a million tokens, to show what the judge cost"),
  })
  .superRefine((judge, context) => {
    const refuse = (path: string, message: string) => {
      context.addIssue({ code: "custom", path: [path], message });
    };
    if ((judge.baseUrl === undefined) === (judge.gguf === undefined)) refuse("baseUrl", "expected either baseUrl with model, or gguf");
    if (judge.baseUrl !== undefined && judge.model === undefined) refuse("model", "expected the model that the endpoint is asked for");
    if (judge.gguf !== undefined && judge.apiKeyEnv !== undefined) refuse("apiKeyEnv", "a local judge needs no key");
    if (judge.gguf !== undefined && judge.model !== undefined) refuse("model", "a local judge is named by its file");
  });

export type JudgeConfig = z.output<typeof judgeSchema>;
export type JudgeInput = z.input<typeof judgeSchema>;
