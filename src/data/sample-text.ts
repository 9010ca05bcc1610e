/** The texts of a sample, whatever its kind. */
import type { Sample } from "./samples.js";

/** What the users wrote and what was answered (of a pair, the chosen answer); turns are joined by line breaks. */
export function questionOf(sample: Sample): { readonly question: string; readonly answer: string } {
  if (sample.kind === "single-turn") {
    return { question: sample.input === undefined ? sample.instruction : `${sample.instruction}\n${sample.input}`, answer: sample.response };
  }
  if (sample.kind === "preference") {
    const { prompt, chosen } = sample;
    const question = typeof prompt === "string" ? prompt : joinTurns(prompt, "user");
    return { question, answer: chosen };
  }
  return { question: joinTurns(sample.turns, "user"), answer: joinTurns(sample.turns, "assistant") };
}

function joinTurns(turns: readonly { readonly role: string; readonly text: string }[], role: string): string {
  return turns.flatMap((turn) => (turn.role === role ? [turn.text] : [])).join("\n");
}
