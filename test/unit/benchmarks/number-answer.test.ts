/** The number that a solution ends with. */
import { expect, test } from "vitest";
import { extractNumber, isSameNumber, parseNumber } from "../../../src/benchmarks/number-answer.js";

test.each([
  ["42", 42],
  ["-3", -3],
  ["−3", -3],
  ["1,234", 1234],
  ["1,234,567.5", 1234567.5],
  ["$12.50", 12.5],
  ["-$5", -5],
  ["25%", 25],
  [".5", 0.5],
  [" 7 ", 7],
  ["12,34", undefined],
  ["seven", undefined],
  ["", undefined],
  ["1 2", undefined],
  ["0x10", undefined],
])("%j as a number is %j", (text, value) => {
  expect(parseNumber(text)).toBe(value);
});

test.each([
  ["6 * 7 = 42\n#### 42", 42],
  ["#### 42\n\nQuestion: and then 99", 42],
  ["#### $1,200.", 1200],
  ["#### 18 dollars", 18],
  ["#### -4", -4],
  ["#### x\nThe answer is 5.", 5],
  ["So the answer is 7 apples of 10.", 7],
  ["The answer is: 5. No, the answer is 6.", 6],
  ["First 3, then 4, so 12.", 12],
  ["He pays $3.50.", 3.5],
  ["It costs 1,000 or 2,000", 2000],
  ["10-3", 3],
  ["none at all", undefined],
  ["", undefined],
])("%j ends with %j", (text, value) => {
  expect(extractNumber(text)).toBe(value);
});

test("amounts that differ in less than a cent are the same", () => {
  expect(isSameNumber(3.333333, 3.33)).toBe(true);
  expect(isSameNumber(42, 42)).toBe(true);
  expect(isSameNumber(42, 42.01)).toBe(false);
});
