/**
 * The closed lists of words an experiment file may use; the schema and the command line's help both read them here.
 * Names of strategies and templates are where these are made.
 */

/** Linear layers that can carry an adapter, by their exact GGUF names; attn_qkv only where a model fuses the first three. */
export const MODULE_NAMES = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_qkv"] as const;

/** What is trained: answers (supervised fine-tuning) or preferences (direct preference optimization). */
export const OBJECTIVES = ["sft", "dpo"] as const;

/** What the rewards of preference training compare with. */
export const REFERENCE_POLICIES = ["base", "start", "round"] as const;

/** The value of data.template that stands for no template. */
export const BARE_TEXT = "none";

/** Weights of the base model; `source` is the file as it is, the others are made from it by llama.cpp's quantizer. */
export const PRECISION_NAMES = [
  "source",
  "F32",
  "F16",
  "BF16",
  "Q8_0",
  "Q6_K",
  "Q5_K_M",
  "Q5_K_S",
  "Q5_1",
  "Q5_0",
  "Q4_K_M",
  "Q4_K_S",
  "Q4_1",
  "Q4_0",
  "IQ4_NL",
  "IQ4_XS",
  "Q3_K_L",
  "Q3_K_M",
  "Q3_K_S",
  "IQ3_M",
  "IQ3_S",
  "Q2_K",
] as const;

/** What computes texts of `serve` and of local judges; `auto` takes a card if there is one that can be used. */
export const GENERATION_DEVICES = ["cpu", "auto", "cuda", "vulkan", "metal"] as const;
export type GenerationDevice = (typeof GENERATION_DEVICES)[number];
