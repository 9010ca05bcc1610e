/** Guesses the language of samples from their text (tinyld), as two-letter ISO 639-1 codes. Short texts are often guessed wrong. */
import { detect } from "tinyld";
import { questionOf } from "./sample-text.js";
import type { Sample } from "./samples.js";

/** What stands for a text whose language cannot be told, as in ISO 639-2. */
export const UNDETERMINED = "und";
/** Longer texts are judged by their beginning. */
const JUDGED_LENGTH = 1000;

/** The language of what the user wrote, or of the answer where that tells nothing. */
export function detectLanguage(sample: Sample): string {
  const { question, answer } = questionOf(sample);
  return languageOf(question) ?? languageOf(answer) ?? UNDETERMINED;
}

/** Undefined for a text that tells nothing. */
export function languageOf(text: string): string | undefined {
  const code = detect(text.slice(0, JUDGED_LENGTH));
  return code === "" ? undefined : code;
}
