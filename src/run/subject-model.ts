/**
 * The model under test over an engine: generation by llama.cpp with the adapter's file, log-probabilities by the trainer with the
 * adapter's weights, both with the template that training used. What a metric does not ask for is never opened.
 */
import type { AnswerRequest, ChatMessage, ModelAnswer, SampleScores, SubjectModel } from "../benchmarks/metric.js";
import { tokenizePairs } from "../data/preference-tokens.js";
import type { TemplateName } from "../data/prompt-template.js";
import type { ChatSample, Sample } from "../data/samples.js";
import { tokenizePrompt, tokenizeSamples } from "../data/tokenized.js";
import { problemError } from "../errors.js";
import { scoreContinuations } from "../evaluation/continuations.js";
import type { ContinuationGroup, ContinuationScore } from "../evaluation/continuations.js";
import { pairScores } from "../evaluation/preference.js";
import type { LocalTrainer, TokenizedSample } from "../federated/local-trainer.js";
import type { GenerationPrompt } from "../native/generator.js";
import { assert } from "../util/assert.js";
import { deriveSeed } from "../util/random.js";
import { toTurns } from "./chat-messages.js";
import type { ModelTokenizer, OpenBaseModel, OpenGenerator, TrainingEngine } from "./engine.js";
import { modelTemplate } from "./sample-tokens.js";

/** Micro-batch of scores, where memory allows: room for several questions behind the examples that they have in common. */
const SCORING_TOKENS = 2048;

/** What is judged, by its files. */
export interface SubjectFiles {
  readonly modelPath: string;
  /** GGUF adapter; absent: the base model alone. */
  readonly adapterPath?: string;
  /** Adapter that rewards of preferences compare with; absent: the base model. */
  readonly referencePath?: string;
}

/** How it is asked; all of it shapes answers, `maxSequences` and `microBatchTokens` by rounding at most. */
export interface SubjectSettings {
  /** none: bare texts, as preferences may be trained. */
  readonly template: TemplateName | "none";
  /** Tokens of a held-out sample, and of its prompt where it is a pair that is too long. */
  readonly maxLength: number;
  readonly maxPromptLength: number;
  /** Strength of the reference in rewards. */
  readonly beta: number;
  /** Tokens of prompt and answer; at most the model's own length. */
  readonly contextLength: number;
  /** Answers that are written at once. */
  readonly maxSequences: number;
  readonly microBatchTokens: number;
  /** Names the random streams of answers together with their keys. */
  readonly seed: number;
}

/** Rank and modules of an adapter that is never used, but whose trainer scores the base alone. Every architecture has this module. */
const NO_ADAPTER = { rank: 1, loraAlpha: 1, dropout: 0, targetModules: ["ffn_down" as const] };

/** A trainer with the weights that it judges; absent weights: the base alone. */
interface Judged {
  readonly trainer: LocalTrainer;
  readonly weights?: Float32Array;
}

export class EngineSubject implements SubjectModel {
  readonly contextLength: number;
  readonly #engine: TrainingEngine;
  readonly #files: SubjectFiles;
  readonly #settings: SubjectSettings;
  readonly #tokenizer: ModelTokenizer;
  readonly #openBase: () => Promise<OpenBaseModel>;
  /** By adapter file. */
  readonly #judges = new Map<string | undefined, Promise<Judged>>();
  #generator: OpenGenerator | undefined;

  /** The caller keeps tokenizer and base open as long as the subject, and disposes of them. */
  constructor(engine: TrainingEngine, files: SubjectFiles, settings: SubjectSettings, shared: { readonly tokenizer: ModelTokenizer; readonly openBase: () => Promise<OpenBaseModel> }) {
    this.#engine = engine;
    this.#files = files;
    this.#settings = settings;
    this.#tokenizer = shared.tokenizer;
    this.#openBase = shared.openBase;
    this.contextLength = settings.contextLength;
  }

  /** See SubjectModel. Rejects with CONFIG_INVALID for a conversation that the template has no form for. */
  async answer(requests: readonly AnswerRequest[], signal?: AbortSignal): Promise<readonly ModelAnswer[]> {
    const prompts = requests.map((request): GenerationPrompt => {
      const { temperature, topK = 0, topP = 1 } = request.sampling;
      const { prompt } = request;
      return {
        tokens: typeof prompt === "string" ? this.tokenize(prompt, true) : this.tokenizeChat(prompt),
        maxNewTokens: request.maxNewTokens,
        temperature,
        topK,
        topP,
        seed: deriveSeed(this.#settings.seed, "answer", request.key),
        stopTexts: request.stopTexts ?? [],
      };
    });
    const generator = await this.#openGenerator();
    const answers = await generator.generate({ prompts }, signal);
    return answers.map(({ text, stop, tokens }, index) => ({
      text: typeof requests[index]?.prompt === "string" ? text : this.#withoutFrame(text),
      stop,
      numPromptTokens: prompts[index]?.tokens.length ?? 0,
      numTokens: tokens.length,
    }));
  }

  tokenize(text: string, addBos: boolean): Int32Array {
    const tokens = this.#tokenizer.tokenize(text, false);
    const { bosToken } = this.#tokenizer;
    if (!addBos || !this.#tokenizer.addBos || bosToken === undefined || tokens[0] === bosToken) return tokens;
    return Int32Array.from([bosToken, ...tokens]);
  }

  /** See SubjectModel. One user turn is written as a single-turn sample of training; a system message goes before the first user's. */
  tokenizeChat(messages: readonly ChatMessage[]): Int32Array {
    const turns = toTurns(messages);
    const [first] = turns;
    if (this.#settings.template === "none") {
      if (turns.length === 1 && first !== undefined) return this.#tokenizer.tokenize(first.text, false);
      throw problemError("CONFIG_INVALID", { subject: "template", expected: "one with a form for conversations", received: "none", remedy: "Choose one with --template" });
    }
    const sample: ChatSample =
      turns.length === 1 && first !== undefined
        ? { kind: "single-turn", instruction: first.text, response: "" }
        : { kind: "multi-turn", turns: [...turns, { role: "assistant", text: "" }] };
    return tokenizePrompt(sample, { template: modelTemplate(this.#settings.template, this.#tokenizer), tokenizer: this.#tokenizer });
  }

  async score(groups: readonly ContinuationGroup[], signal?: AbortSignal): Promise<readonly (readonly ContinuationScore[])[]> {
    const { trainer, weights } = await this.#judge(this.#files.adapterPath);
    const microBatchTokens = Math.max(this.#settings.microBatchTokens, SCORING_TOKENS);
    return scoreContinuations(trainer, { groups, microBatchTokens, ...(weights === undefined ? {} : { weights }) }, signal);
  }

  /** See SubjectModel. */
  async scoreSamples(samples: readonly Sample[], signal?: AbortSignal): Promise<readonly SampleScores[]> {
    const isPairs = samples.some(({ kind }) => kind === "preference");
    return isPairs ? this.#scorePairs(samples, signal) : this.#scoreAnswers(samples, signal);
  }

  /** Frees the generator; what is shared stays the caller's. Safe to call twice. */
  dispose(): void {
    this.#generator?.dispose();
    this.#generator = undefined;
  }

  async #scoreAnswers(samples: readonly Sample[], signal?: AbortSignal): Promise<readonly SampleScores[]> {
    const { template, maxLength } = this.#settings;
    if (template === "none") throw problemError("CONFIG_INVALID", { subject: "template", expected: "one for samples with answers", received: "none", remedy: "Choose one with --template" });
    const tokenized = tokenizeSamples(samples, { template: modelTemplate(template, this.#tokenizer), tokenizer: this.#tokenizer, maxLength });
    const scores = await this.#scoreTokens(tokenized.samples, this.#files.adapterPath, signal);
    return withDropped(
      scores.map(({ logProbability, numSupervisedTokens, numCorrectTokens }) => ({ kind: "answer", logProbability, numTokens: numSupervisedTokens, numCorrectTokens })),
      tokenized.dropped,
      samples.length,
    );
  }

  /** Both answers of a pair form a group, so that their prompt is computed once. */
  async #scorePairs(samples: readonly Sample[], signal?: AbortSignal): Promise<readonly SampleScores[]> {
    const { template, maxLength, maxPromptLength, beta } = this.#settings;
    const form = template === "none" ? template : modelTemplate(template, this.#tokenizer);
    const tokenized = tokenizePairs(samples, { template: form, tokenizer: this.#tokenizer, maxLength, maxPromptLength });
    const sequences = tokenized.samples.flatMap(({ chosen, rejected }) => [chosen, rejected]);
    const groupOffsets = Uint32Array.from({ length: tokenized.samples.length + 1 }, (_, pair) => 2 * pair);
    const policies = pairScores(await this.#scoreTokens(sequences, this.#files.adapterPath, signal, groupOffsets));
    const references = pairScores(await this.#scoreTokens(sequences, this.#files.referencePath, signal, groupOffsets));
    const scores = policies.map((policy, index): SampleScores => {
      const reference = references[index];
      assert(reference !== undefined, "both policies score the same pairs");
      return { kind: "pair", policy, reference, beta };
    });
    return withDropped(scores, tokenized.dropped, samples.length);
  }

  async #scoreTokens(samples: readonly TokenizedSample[], adapterPath: string | undefined, signal?: AbortSignal, groupOffsets?: Uint32Array) {
    if (samples.length === 0) return [];
    const { trainer, weights } = await this.#judge(adapterPath);
    const request = { samples, microBatchTokens: this.#settings.microBatchTokens, ...(weights === undefined ? {} : { weights }), ...(groupOffsets === undefined ? {} : { groupOffsets }) };
    return (await trainer.evaluate(request, signal)).samples;
  }

  #judge(adapterPath: string | undefined): Promise<Judged> {
    const known = this.#judges.get(adapterPath) ?? this.#openJudge(adapterPath);
    this.#judges.set(adapterPath, known);
    return known;
  }

  async #openJudge(adapterPath: string | undefined): Promise<Judged> {
    const base = await this.#openBase();
    if (adapterPath === undefined) return { trainer: base.trainer(NO_ADAPTER) };
    const { lora, weights } = await base.loadAdapter(adapterPath);
    return { trainer: base.trainer({ ...NO_ADAPTER, ...lora } as Parameters<OpenBaseModel["trainer"]>[0]), weights };
  }

  async #openGenerator(): Promise<OpenGenerator> {
    if (this.#generator !== undefined) return this.#generator;
    if (this.#engine.openGenerator === undefined) {
      throw problemError("NATIVE_UNAVAILABLE", { subject: "generation", expected: "an engine that writes text", received: "one that does not" });
    }
    const { modelPath, adapterPath } = this.#files;
    const { contextLength, maxSequences } = this.#settings;
    this.#generator = await this.#engine.openGenerator(modelPath, { contextLength, maxSequences, adapters: adapterPath === undefined ? [] : [{ path: adapterPath, scale: 1 }] });
    return this.#generator;
  }

  /** The frames of FedLLM-Bench begin an answer with a blank, which is no part of what was said. */
  #withoutFrame(text: string): string {
    const { template } = this.#settings;
    return template === "chat" || template === "none" || !text.startsWith(" ") ? text : text.slice(1);
  }
}

/** Puts the dropped ones back in their places. */
function withDropped(scores: readonly SampleScores[], dropped: readonly { readonly index: number; readonly reason: string }[], length: number): SampleScores[] {
  const reasons = new Map(dropped.map(({ index, reason }) => [index, reason]));
  let next = 0;
  return Array.from({ length }, (_, index) => {
    const reason = reasons.get(index);
    if (reason !== undefined) return { kind: "dropped", reason };
    const score = scores[next];
    next += 1;
    assert(score !== undefined, "every sample that was not dropped has scores");
    return score;
  });
}
