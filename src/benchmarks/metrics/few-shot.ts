/** Prompts that begin with examples: as many as fit. */
import type { SubjectModel } from "../metric.js";

export interface FewShotPrompt {
  readonly text: string;
  /** With BOS where the model wants it. */
  readonly tokens: Int32Array;
  readonly numShots: number;
}

/** The prompt with the most of its first examples that fits into so many tokens; undefined when it does not fit without any either. */
export function fitShots(
  model: Pick<SubjectModel, "tokenize">,
  { maxShots, maxTokens, build }: { readonly maxShots: number; readonly maxTokens: number; readonly build: (numShots: number) => string },
): FewShotPrompt | undefined {
  for (let numShots = maxShots; numShots >= 0; numShots--) {
    const text = build(numShots);
    const tokens = model.tokenize(text, true);
    if (tokens.length <= maxTokens) return { text, tokens, numShots };
  }
  return undefined;
}
