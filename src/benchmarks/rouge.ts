/**
 * ROUGE-L of two texts: F1 of their longest common subsequence of tokens (Lin, "ROUGE: A Package for Automatic Evaluation of
 * Summaries", 2004, section 3, with beta = 1 and whole texts as one sentence). Tokens are runs of letters, digits and
 * marks after NFKC and lower-casing; in scripts that write words without blanks between them (Han, kana, Thai, Lao, Khmer,
 * Burmese) each character with its marks is a token. For English text without stemming it is the usual one.
 */

const WITHOUT_BLANKS = String.raw`\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Thai}\p{scx=Lao}\p{scx=Khmer}\p{scx=Myanmar}`;
/** Marks and punctuation that several scripts share stand in some of their lists: only letters and digits are characters here. */
const TOKEN = new RegExp(String.raw`(?=[\p{L}\p{N}])[${WITHOUT_BLANKS}]\p{M}*|(?:(?!(?=[\p{L}\p{N}])[${WITHOUT_BLANKS}])[\p{L}\p{N}\p{M}])+`, "gu");

/** The tokens that ROUGE-L compares. */
export function rougeTokens(text: string): string[] {
  return text.normalize("NFKC").toLowerCase().match(TOKEN) ?? [];
}

/** From 0 to 1; two texts without tokens are equal. */
export function rougeL(candidate: string, reference: string): number {
  const left = rougeTokens(candidate);
  const right = rougeTokens(reference);
  if (left.length === 0 && right.length === 0) return 1;
  // 2 P R / (P + R) with P = common / left and R = common / right.
  return (2 * longestCommonSubsequence(left, right)) / (left.length + right.length);
}

/** Its length, by the table of prefixes, row by row. */
function longestCommonSubsequence(left: readonly string[], right: readonly string[]): number {
  let above = new Uint32Array(right.length + 1);
  for (const token of left) {
    const row = new Uint32Array(right.length + 1);
    for (const [index, other] of right.entries()) {
      row[index + 1] = token === other ? (above[index] ?? 0) + 1 : Math.max(above[index + 1] ?? 0, row[index] ?? 0);
    }
    above = row;
  }
  return above[right.length] ?? 0;
}
