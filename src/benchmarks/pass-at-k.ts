/** pass@k of n programs, of which c are right (Chen et al. 2021, "Evaluating Large Language Models Trained on Code", equation 1). */
import { assert } from "../util/assert.js";

/**
 * Chance that k of the n programs, drawn without putting back, hold a right one: 1 - C(n - c, k) / C(n, k), as a product of factors
 * of at most 1, so that no large number appears. `numRight` from 0 to `numPrograms`, `k` from 1 to `numPrograms`.
 */
export function passAtK({ numPrograms, numRight, k }: { readonly numPrograms: number; readonly numRight: number; readonly k: number }): number {
  assert(k >= 1 && k <= numPrograms && numRight >= 0 && numRight <= numPrograms, "pass@k of fewer programs than k");
  // C(n - c, k) / C(n, k) = C(n - k, c) / C(n, c) = product over i of (n - k - i) / (n - i), i = 0 .. c - 1.
  let allWrong = 1;
  for (let index = 0; index < numRight; index++) allWrong *= Math.max(0, numPrograms - k - index) / (numPrograms - index);
  return 1 - allWrong;
}
