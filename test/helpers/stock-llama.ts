/** The oracle for adapter files: node-llama-cpp, in this process, loads model and adapter and says how probable each next token is. */
import { LlamaLogLevel, getLlama } from "node-llama-cpp";
import type { Token } from "node-llama-cpp";
import type { TokenizedSample } from "../../src/federated/local-trainer.js";

/**
 * Summed natural-log probability of the supervised tokens of each sample, under the model with the adapter of a file, or without
 * one. llama.cpp keeps keys and values in F16 and rounds activations to the type of the weights.
 */
export async function stockLogProbabilities(modelPath: string, samples: readonly TokenizedSample[], lora?: string): Promise<readonly number[]> {
  const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.disabled });
  try {
    const model = await llama.loadModel({ modelPath });
    // One thread: llama.cpp's others would spin while they wait for each other.
    const context = await model.createContext({ contextSize: 64, threads: 1, ...(lora === undefined ? {} : { lora }) });
    const sequence = context.getSequence();
    const sums: number[] = [];
    for (const { tokens, supervised } of samples) {
      await sequence.clearHistory();
      const ids = [...tokens] as Token[];
      const outputs = await sequence.controlledEvaluate(ids.map((token) => [token, { generateNext: { probabilities: true, options: {} } }]));
      sums.push(
        ids.reduce((sum, token, position) => {
          if (supervised[position] !== 1) return sum;
          return sum + Math.log(outputs[position - 1]?.next.probabilities?.get(token) ?? Number.NaN);
        }, 0),
      );
    }
    return sums;
  } finally {
    await llama.dispose();
  }
}

/** node-llama-cpp's own greedy answer: token ids after the prompt, at most so many, up to an end token. */
export async function stockGreedyTokens(modelPath: string, prompt: Int32Array, maxNewTokens: number, lora?: string): Promise<readonly number[]> {
  const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.disabled });
  try {
    const model = await llama.loadModel({ modelPath });
    const context = await model.createContext({ contextSize: 512, threads: 1, ...(lora === undefined ? {} : { lora }) });
    const answer: number[] = [];
    for await (const token of context.getSequence().evaluate([...prompt] as Token[], { temperature: 0 })) {
      answer.push(token);
      if (answer.length === maxNewTokens) break;
    }
    return answer;
  } finally {
    await llama.dispose();
  }
}

/** A text and texts that may follow it. */
export interface TextContinuations {
  readonly prompt: string;
  readonly continuations: readonly string[];
}

/**
 * Natural-log probability of each continuation after its prompt, the naive way: each prompt by itself, from what the tokenizer of
 * node-llama-cpp makes of both together. Continuations must be one token behind the prompt's. Attention is plain and in F32.
 */
export async function stockNextLogProbabilities(modelPath: string, texts: readonly TextContinuations[], contextSize: number): Promise<readonly (readonly number[])[]> {
  const llama = await getLlama({ gpu: false, build: "never", progressLogs: false, logLevel: LlamaLogLevel.disabled });
  try {
    const model = await llama.loadModel({ modelPath });
    const context = await model.createContext({ contextSize, threads: 1, flashAttention: false, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" });
    const sequence = context.getSequence();
    const tokenize = (text: string): Token[] => [...(model.tokens.shouldPrependBosToken && model.tokens.bos !== null ? [model.tokens.bos] : []), ...model.tokenize(text)];
    const results: number[][] = [];
    for (const { prompt, continuations } of texts) {
      const tokens = tokenize(prompt);
      await sequence.clearHistory();
      const outputs = await sequence.controlledEvaluate(tokens.map((token, index) => (index < tokens.length - 1 ? token : [token, { generateNext: { probabilities: true, options: {} } }])));
      const probabilities = outputs[tokens.length - 1]?.next.probabilities;
      results.push(
        continuations.map((continuation) => {
          const [token, more] = tokenize(prompt + continuation).slice(tokens.length);
          if (token === undefined || more !== undefined) throw new Error(`${JSON.stringify(continuation)} is not one token`);
          return Math.log(probabilities?.get(token) ?? Number.NaN);
        }),
      );
    }
    return results;
  } finally {
    await llama.dispose();
  }
}
