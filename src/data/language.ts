/** Guesses the language of samples from their text (tinyld), as two-letter ISO 639-1 codes. Short texts are often guessed wrong. */
import { createRequire } from "node:module";
import type { detect } from "tinyld";
import { questionOf } from "./sample-text.js";
import type { Sample } from "./samples.js";

/** What stands for a text whose language cannot be told, as in ISO 639-2. */
export const UNDETERMINED = "und";
/** Longer texts are judged by their beginning. */
const JUDGED_LENGTH = 1000;

/** Loaded when it is first needed: its tables take a tenth of a second, which programs that never ask need not wait for. */
let tinyld: { readonly detect: typeof detect } | undefined;

/** The language of what the user wrote, or of the answer where that tells nothing. */
export function detectLanguage(sample: Sample): string {
  const { question, answer } = questionOf(sample);
  return languageOf(question) ?? languageOf(answer) ?? UNDETERMINED;
}

/** Undefined for a text that tells nothing. */
export function languageOf(text: string): string | undefined {
  tinyld ??= createRequire(import.meta.url)("tinyld") as { readonly detect: typeof detect };
  const code = tinyld.detect(text.slice(0, JUDGED_LENGTH));
  return code === "" ? undefined : code;
}
