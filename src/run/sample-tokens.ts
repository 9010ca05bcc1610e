/** How the samples of a run become tokens: by its template, and by what its objective learns from. */
import { DEFAULT_MAX_PROMPT_LENGTH } from "../config/objective.js";
import type { ExperimentConfig } from "../config/schema.js";
import { tokenizePairs } from "../data/preference-tokens.js";
import type { PromptTemplate, TemplateName } from "../data/prompt-template.js";
import type { Sample } from "../data/samples.js";
import { createTemplate } from "../data/templates.js";
import { isSurelyWhole, tokenizeSamples } from "../data/tokenized.js";
import type { TokenizedSamples } from "../data/tokenized.js";
import type { TrainingExample } from "../federated/local-trainer.js";
import type { ModelTokenizer } from "./engine.js";

/** Makes tokens of samples, each by itself; throws as tokenizeSamples or tokenizePairs. */
export interface Tokenize {
  (samples: readonly Sample[]): TokenizedSamples<TrainingExample>;
  /** True only for a sample that is certain to be neither dropped nor cut; pairs are never certain. */
  readonly isSurelyWhole: (sample: Sample) => boolean;
}

/** Throws CONFIG_INVALID for a template that the model does not have. */
export function createTokenize(config: ExperimentConfig, tokenizer: ModelTokenizer): Tokenize {
  const { maxLength, maxPromptLength = DEFAULT_MAX_PROMPT_LENGTH, preferenceAnswer } = config.data;
  const template = templateOf(config, tokenizer);
  if (config.training.objective === "dpo") {
    const tokenize = (samples: readonly Sample[]) => tokenizePairs(samples, { template, tokenizer, maxLength, maxPromptLength });
    return Object.assign(tokenize, { isSurelyWhole: () => false });
  }
  const options = { tokenizer, maxLength, ...(preferenceAnswer === undefined ? {} : { preferenceAnswer }) };
  if (template === "none") throw new TypeError("template none is for pairs, which the configuration makes sure of");
  return Object.assign((samples: readonly Sample[]) => tokenizeSamples(samples, { ...options, template }), {
    isSurelyWhole: (sample: Sample) => isSurelyWhole(sample, { ...options, template }),
  });
}

function templateOf({ data: { template } }: ExperimentConfig, tokenizer: ModelTokenizer): PromptTemplate | "none" {
  return template === "none" ? template : modelTemplate(template, tokenizer);
}

/** The template of this name with the model's own where it is that one. Throws CONFIG_INVALID for a template that the model does not have. */
export function modelTemplate(template: TemplateName, tokenizer: Pick<ModelTokenizer, "chatTemplate" | "bosToken" | "eosToken" | "detokenize">): PromptTemplate {
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
