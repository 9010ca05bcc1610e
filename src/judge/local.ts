/**
 * A judge in a GGUF file. It writes its view freely and then, held by a grammar, one of the ratings in double square brackets, which is
 * the form that ratings are read in; so there is a rating to every answer, however small the model. No adapter is applied.
 */
import { basename } from "node:path";
import type { LlamaGrammar } from "node-llama-cpp";
import type { GenerationDevice } from "../config/names.js";
import { FedllmError } from "../errors.js";
import { startsWithFrameBlank, promptTokenizer, templateFor, tokenizeConversation } from "../generation/chat-prompt.js";
import { ContextPool } from "../generation/context-pool.js";
import type { Lease } from "../generation/context-pool.js";
import { generateText } from "../generation/generate.js";
import { openLlama } from "../generation/llama.js";
import { hashFile } from "../run/file-hash.js";
import { canonicalJson } from "../util/canonical-json.js";
import { deriveSeed } from "../util/random.js";
import type { Answer, Answerer, AskRequest } from "./answerer.js";

export interface LocalJudgeOptions {
  /** GGUF file. */
  readonly path: string;
  /** Tokens of request and reply. */
  readonly contextLength: number;
  /** Of all requests together. */
  readonly numThreads: number;
  /** Requests at once. */
  readonly concurrency: number;
  readonly device: GenerationDevice;
}

/** Begins the rating where the model has not done so itself. */
const RATING_LINE = "\n\nRating: ";
const OPENING = "[[";
const CLOSING = "]]";
/** Room for the rating and its line. */
const RATING_TOKENS = 32;
/** llama.cpp takes the largest seed as none. */
const NUM_SEEDS = 2 ** 32 - 1;

/** Opens the file; the judge owns it. Rejects with MODEL_LOAD_FAILED, NATIVE_UNAVAILABLE, NATIVE_MISMATCH, OUT_OF_MEMORY or CONFIG_INVALID (no usable template). */
export async function openLocalAnswerer(options: LocalJudgeOptions): Promise<Answerer> {
  const { path, contextLength, concurrency, numThreads } = options;
  const sha256 = await hashFile(path);
  const open = await openLlama(options.device);
  const pool = new ContextPool(open, { parallel: concurrency, maxContexts: concurrency, contextLength, numThreads: Math.max(1, Math.floor(numThreads / concurrency)) });
  const dispose = async () => {
    await pool.dispose();
    await open.llama.dispose();
  };
  try {
    // Opened at once, so that a file that cannot judge is known before there is anything to be judged.
    const first = await pool.lease({ modelPath: path });
    const name = nameOf(first, path);
    templateFor(promptTokenizer(first.model));
    first.release();
    return {
      name,
      identity: { gguf: sha256, contextLength, llamaCpp: open.llama.llamaCppRelease.release },
      answer: async (request, signal) => {
        const lease = await pool.lease({ modelPath: path }, signal);
        try {
          return await answerWith(lease, request, signal);
        } catch (error) {
          throw error instanceof FedllmError ? error : new FedllmError("JUDGE_FAILED", `the judge's model: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
        } finally {
          lease.release();
        }
      },
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

function nameOf({ model }: Lease, path: string): string {
  const general: unknown = model.fileInfo.metadata["general"];
  const name = (general as { name?: unknown } | undefined)?.name;
  return typeof name === "string" && name !== "" ? name : basename(path, ".gguf");
}

async function answerWith(lease: Lease, request: AskRequest, signal?: AbortSignal): Promise<Answer> {
  const tokenizer = promptTokenizer(lease.model);
  const template = templateFor(tokenizer);
  const prompt = tokenizeConversation(request.messages, template, tokenizer);
  const words = wordsOf(request);
  const room = lease.contextLength - prompt.length - (words === undefined ? 0 : RATING_TOKENS);
  if (room < 1) {
    throw new FedllmError("JUDGE_FAILED", `a request of ${String(prompt.length)} tokens leaves no room in the judge's context of ${String(lease.contextLength)}. Raise judge.contextLength`);
  }
  const sampling = { temperature: request.temperature, topK: 0, topP: 1, seed: seedOf(request) };
  const view = await generateText(
    lease,
    { promptTokens: prompt, maxNewTokens: Math.min(room, request.maxTokens), ...sampling, stopTexts: words === undefined ? [] : [OPENING] },
    undefined,
    signal,
  );
  const text = startsWithFrameBlank(template) ? view.text.trimStart() : view.text;
  const numTokens = view.tokens.length;
  if (words === undefined) return { text, usage: { numPromptTokens: prompt.length, numCompletionTokens: numTokens } };

  const beginning = `${text.trimEnd()}${view.stopText === undefined ? RATING_LINE : " "}${OPENING}`;
  const rating = await generateText(
    lease,
    { promptTokens: [...prompt, ...tokenizer.tokenize(beginning, false)], maxNewTokens: RATING_TOKENS, ...sampling, temperature: 0, stopTexts: [], grammar: await ratingGrammar(lease, words), continues: true },
    undefined,
    signal,
  );
  return { text: beginning + rating.text, usage: { numPromptTokens: prompt.length, numCompletionTokens: numTokens + rating.tokens.length } };
}

function wordsOf({ choices, ratings }: AskRequest): readonly string[] | undefined {
  if (choices !== undefined) return choices;
  if (ratings === undefined) return undefined;
  return Array.from({ length: Math.floor(ratings.max) - Math.ceil(ratings.min) + 1 }, (_, index) => String(Math.ceil(ratings.min) + index));
}

async function ratingGrammar({ llama }: Lease, words: readonly string[]): Promise<LlamaGrammar> {
  const alternatives = words.map((word) => JSON.stringify(word)).join(" | ");
  return llama.createGrammar({ grammar: `root ::= (${alternatives}) ${JSON.stringify(CLOSING)}` });
}

function seedOf({ messages, temperature, maxTokens }: AskRequest): number {
  return deriveSeed(0, "judge", canonicalJson({ messages, temperature, maxTokens })) % NUM_SEEDS;
}
