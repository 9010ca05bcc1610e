/** Conversations -> token ids of a prompt, by the template that training used; the tokens are those of training and of `eval`. */
import type { LlamaModel, Token } from "node-llama-cpp";
import type { ChatMessage } from "../benchmarks/metric.js";
import type { PromptTemplate, TemplateName } from "../data/prompt-template.js";
import type { ChatSample } from "../data/samples.js";
import { tokenizePrompt } from "../data/tokenized.js";
import type { SampleTokenizer } from "../data/tokenized.js";
import { problemError } from "../errors.js";
import { toTurns } from "../run/chat-messages.js";
import { modelTemplate } from "../run/sample-tokens.js";

/** A model's tokenizer with what templates need of it. */
export interface PromptTokenizer extends SampleTokenizer {
  readonly chatTemplate?: string;
  detokenize(tokens: Int32Array, renderSpecial: boolean): string;
}

/** The tokenizer of a model that node-llama-cpp opened. */
export function promptTokenizer(model: LlamaModel): PromptTokenizer {
  const { bos, eos, shouldPrependBosToken } = model.tokens;
  const tokenizerMetadata: unknown = model.fileInfo.metadata["tokenizer"];
  const chatTemplate = (tokenizerMetadata as { chat_template?: unknown } | undefined)?.chat_template;
  return {
    addBos: shouldPrependBosToken,
    ...(bos === null ? {} : { bosToken: bos }),
    ...(eos === null ? {} : { eosToken: eos }),
    ...(typeof chatTemplate === "string" ? { chatTemplate } : {}),
    tokenize: (text, parseSpecial) => Int32Array.from(model.tokenize(text, parseSpecial)),
    detokenize: (tokens, renderSpecial) => model.detokenize(Array.from(tokens) as Token[], renderSpecial),
  };
}

/** The template of a name, or without a name the model's own if it has one, else alpaca. Throws CONFIG_INVALID for one that the model does not have. */
export function templateFor(tokenizer: PromptTokenizer, name?: TemplateName): PromptTemplate {
  const has = tokenizer.chatTemplate !== undefined && tokenizer.chatTemplate.trim() !== "";
  return modelTemplate(name ?? (has ? "chat" : "alpaca"), tokenizer);
}

/**
 * Tokens of a conversation with the beginning of the answer. Throws CONFIG_INVALID for turns that do not alternate or do not end with the user's, and
 * DATASET_INVALID for texts that the template refuses.
 */
export function tokenizeConversation(messages: readonly ChatMessage[], template: PromptTemplate, tokenizer: PromptTokenizer): Int32Array {
  const turns = toTurns(withOneSystemMessage(messages));
  const [first] = turns;
  if (first === undefined) throw problemError("CONFIG_INVALID", { subject: "messages", expected: "one of the user", received: "none" });
  const sample: ChatSample =
    turns.length === 1
      ? { kind: "single-turn", instruction: first.text, response: "" }
      : { kind: "multi-turn", turns: [...turns, { role: "assistant", text: "" }] };
  return tokenizePrompt(sample, { template, tokenizer });
}

/** Tokens of a text as it is, behind BOS where the model wants it. */
export function tokenizeText(text: string, tokenizer: PromptTokenizer): Int32Array {
  const tokens = tokenizer.tokenize(text, false);
  const { addBos, bosToken } = tokenizer;
  return addBos && bosToken !== undefined && tokens[0] !== bosToken ? Int32Array.from([bosToken, ...tokens]) : tokens;
}

/** What the template's frame puts before an answer is no part of it. */
export function startsWithFrameBlank({ name }: PromptTemplate): boolean {
  return name !== "chat";
}

/** Several system messages at the beginning are one. */
function withOneSystemMessage(messages: readonly ChatMessage[]): readonly ChatMessage[] {
  const numSystem = messages.findIndex(({ role }) => role !== "system");
  if (numSystem < 2) return messages;
  const content = messages.slice(0, numSystem).map((message) => message.content).join("\n\n");
  return [{ role: "system", content }, ...messages.slice(numSystem)];
}
