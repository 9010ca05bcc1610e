/** How the samples of a run become tokens: by its template, and by what its objective learns from. */
import { DEFAULT_MAX_PROMPT_LENGTH } from "../config/objective.js";
import type { ExperimentConfig } from "../config/schema.js";
import { tokenizePairs } from "../data/preference-tokens.js";
import type { PromptTemplate } from "../data/prompt-template.js";
import type { Sample } from "../data/samples.js";
import { createTemplate } from "../data/templates.js";
import { tokenizeSamples } from "../data/tokenized.js";
import type { TokenizedSamples } from "../data/tokenized.js";
import type { TrainingExample } from "../federated/local-trainer.js";
import type { ModelTokenizer } from "./engine.js";

/** Tokenizes a list of samples; throws as tokenizeSamples or tokenizePairs. */
export type Tokenize = (samples: readonly Sample[]) => TokenizedSamples<TrainingExample>;

/** Throws CONFIG_INVALID for a template that the model does not have. */
export function createTokenize(config: ExperimentConfig, tokenizer: ModelTokenizer): Tokenize {
  const { maxLength, maxPromptLength = DEFAULT_MAX_PROMPT_LENGTH, preferenceAnswer } = config.data;
  const template = templateOf(config, tokenizer);
  if (config.training.objective === "dpo") return (samples) => tokenizePairs(samples, { template, tokenizer, maxLength, maxPromptLength });
  const options = { tokenizer, maxLength, ...(preferenceAnswer === undefined ? {} : { preferenceAnswer }) };
  return (samples) => {
    if (template === "none") throw new TypeError("template none is for pairs, which the configuration makes sure of");
    return tokenizeSamples(samples, { ...options, template });
  };
}

function templateOf({ data: { template } }: ExperimentConfig, tokenizer: ModelTokenizer): PromptTemplate | "none" {
  if (template === "none") return template;
  const textOf = (token: number | undefined) =>
    token === undefined ? undefined : tokenizer.detokenize(Int32Array.of(token), true);
  const bosText = textOf(tokenizer.bosToken);
  const eosText = textOf(tokenizer.eosToken);
  return createTemplate(template, {
    ...(tokenizer.chatTemplate === undefined ? {} : { chatTemplate: tokenizer.chatTemplate }),
    ...(bosText === undefined ? {} : { bosText }),
    ...(eosText === undefined ? {} : { eosText }),
  });
}
