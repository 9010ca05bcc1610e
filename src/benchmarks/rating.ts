/**
 * The rating in a judge's words. Judges are asked for `[[rating]]` and do not always obey. The benchmark's own program takes the first
 * `[[number]]`, else the first `[number]`, and nothing else; `tolerant` takes, where there is neither, what a reader would take too.
 * Whatever the reference parses is the same number in both forms. A number outside the scale is no rating, in both.
 */

/** Which forms count: more than the benchmark's program reads, or those alone. */
export const RATING_FORMS = ["tolerant", "reference"] as const;
export type RatingForms = (typeof RATING_FORMS)[number];

export interface RatingScale {
  readonly min: number;
  readonly max: number;
}

const NUMBER = String.raw`(\d+(?:[.,]\d+)?)`;
/** What may stand between marks and number: spaces and emphasis; few of them, so that no words take long to search. */
const GAP = String.raw`[\s*_\x60]{0,8}`;

const DOUBLE_BRACKETS = /\[\[(\d+\.?\d*)\]\]/u;
const SINGLE_BRACKETS = /\[(\d+\.?\d*)\]/u;

/** Double brackets with more than the number in them, or of another script. */
const LOOSE_BRACKETS = new RegExp(String.raw`(?:\[\[|【【?|［［?)${GAP}(?:rating|score)?${GAP}[:=]?${GAP}${NUMBER}${GAP}(?:\/\s*(\d+)${GAP})?(?:\]\]|】|］)`, "iu");
/** `Rating: 8`, `**Score**: 8/10`, `"rating": 8`, `overall rating is 8 out of 10`. */
const LABELLED = new RegExp(
  String.raw`\b(?:rating|score|rated?|grade)\b["'”)]?${GAP}(?:[:=]|is|of|would be|at|it)${GAP}(?:an?\s)?${GAP}[["'“]?${NUMBER}${GAP}(?:(?:\/|out of)${GAP}(\d+))?`,
  "giu",
);
/** `8/10`, `8 out of 10`. */
const OUT_OF = new RegExp(String.raw`(?<![\d./,-])${NUMBER}${GAP}(?:\/|out of)${GAP}(\d+)(?![\d/.]*\d)`, "giu");
/** The number alone. */
const BARE = new RegExp(String.raw`^${GAP}${NUMBER}${GAP}\.?\s*$`, "u");

/**
 * The rating on the scale, null when there is none. Of several in brackets the first counts, as in the reference; of several in other
 * forms the last, since the verdict comes after the reasons.
 */
export function parseRating(words: string, scale: RatingScale, forms: RatingForms = "tolerant"): number | null {
  const bracketed = DOUBLE_BRACKETS.exec(words) ?? SINGLE_BRACKETS.exec(words);
  if (bracketed !== null) return onScale(bracketed[1], undefined, scale);
  if (forms === "reference") return null;
  const loose = LOOSE_BRACKETS.exec(words) ?? [...words.matchAll(LABELLED)].at(-1) ?? [...words.matchAll(OUT_OF)].at(-1) ?? BARE.exec(words);
  return loose === null ? null : onScale(loose[1], loose[2], scale);
}

/** `outOf` is the scale's end that the judge named: with another one its number means something else. */
function onScale(digits: string | undefined, outOf: string | undefined, { min, max }: RatingScale): number | null {
  const rating = Number(digits?.replace(",", "."));
  if (!Number.isFinite(rating) || rating < min || rating > max) return null;
  return outOf !== undefined && Number(outOf) !== max ? null : rating;
}
