/** Conversations written as one text, as in hh-rlhf: "\n\nHuman: …\n\nAssistant: …". */
import { describeType } from "../sample-fields.js";

const SPEAKER = /(?:^|\n\n)(Human|Assistant):/gu;

export interface TranscriptMessage {
  readonly role: "user" | "assistant";
  readonly content: string;
}

/** The messages, with the white space around each taken off, or why the value is no transcript. */
export function readTranscript(
  value: unknown,
  field: string,
): { readonly messages: readonly TranscriptMessage[] } | { readonly reason: string } {
  if (typeof value !== "string") return { reason: `${field}: expected a string, received ${describeType(value)}` };
  const speakers = [...value.matchAll(SPEAKER)];
  if (speakers.length === 0 || value.slice(0, speakers[0]?.index).trim() !== "") {
    return { reason: `${field}: expected a transcript that begins with "Human:", received ${JSON.stringify(value.slice(0, 40))}` };
  }
  const messages = speakers.map((match, index): TranscriptMessage => {
    const end = speakers[index + 1]?.index ?? value.length;
    return { role: match[1] === "Human" ? "user" : "assistant", content: value.slice(match.index + match[0].length, end).trim() };
  });
  return { messages };
}
