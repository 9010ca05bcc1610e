/** pass@k against values by hand and against counting all draws. */
import { expect, test } from "vitest";
import { passAtK } from "../../../src/benchmarks/pass-at-k.js";

test("values that can be seen by hand", () => {
  expect(passAtK({ numPrograms: 1, numRight: 1, k: 1 })).toBe(1);
  expect(passAtK({ numPrograms: 1, numRight: 0, k: 1 })).toBe(0);
  // One of two draws of two programs out of four with one right: 3 of 6 pairs hold it.
  expect(passAtK({ numPrograms: 4, numRight: 1, k: 2 })).toBeCloseTo(0.5, 15);
  expect(passAtK({ numPrograms: 10, numRight: 3, k: 1 })).toBeCloseTo(0.3, 15);
  // Fewer wrong ones than are drawn.
  expect(passAtK({ numPrograms: 5, numRight: 3, k: 3 })).toBe(1);
});

test("all subsets counted one by one, for up to eight programs", () => {
  for (let numPrograms = 1; numPrograms <= 8; numPrograms++) {
    for (let numRight = 0; numRight <= numPrograms; numRight++) {
      for (let k = 1; k <= numPrograms; k++) {
        let numDraws = 0;
        let numWithRight = 0;
        for (let subset = 0; subset < 2 ** numPrograms; subset++) {
          const members = Array.from({ length: numPrograms }, (_, index) => index).filter((index) => (subset >> index) & 1);
          if (members.length !== k) continue;
          numDraws++;
          if (members.some((index) => index < numRight)) numWithRight++;
        }
        // A product of at most eight quotients.
        expect(passAtK({ numPrograms, numRight, k })).toBeCloseTo(numWithRight / numDraws, 14);
      }
    }
  }
});

test("large numbers stay in bounds", () => {
  const value = passAtK({ numPrograms: 1000, numRight: 7, k: 100 });
  // 1 - (900 * 899 * … * 894) / (1000 * … * 994)
  const expected = 1 - [0, 1, 2, 3, 4, 5, 6].reduce((product, index) => (product * (900 - index)) / (1000 - index), 1);
  expect(value).toBeCloseTo(expected, 14);
});
