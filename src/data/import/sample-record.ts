/** A sample as it stands in this project's files: the reverse of the check in samples.ts. */
import type { Sample, Turn } from "../samples.js";
import type { JsonRecord } from "../sample-fields.js";

/** The JSON object of a sample with further fields, for example its language. Reading it gives an equal sample. */
export function sampleRecord(sample: Sample, extra: JsonRecord = {}): JsonRecord {
  if (sample.kind === "single-turn") {
    const { instruction, input, response } = sample;
    return { instruction, ...(input === undefined ? {} : { input }), response, ...extra };
  }
  if (sample.kind === "multi-turn") {
    return { conversations: sample.turns.map(({ role, text }) => ({ from: role === "user" ? "human" : "gpt", value: text })), ...extra };
  }
  const { prompt, chosen, rejected } = sample;
  if (typeof prompt === "string") return { prompt, chosen, rejected, ...extra };
  return { prompt: prompt.map(messageOf), chosen: [answerOf(chosen)], rejected: [answerOf(rejected)], ...extra };
}

function messageOf({ role, text }: Turn) {
  return { role, content: text };
}

function answerOf(text: string) {
  return { role: "assistant", content: text };
}
