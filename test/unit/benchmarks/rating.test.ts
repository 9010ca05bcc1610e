/** The rating parser over forms that judges really use: what the benchmark's own program reads, and what is read in addition. */
import { describe, expect, test } from "vitest";
import { parseRating } from "../../../src/benchmarks/rating.js";

const SCALE = { min: 1, max: 10 };

describe("forms that the reference reads too", () => {
  test.each([
    ["[[8]]", 8],
    ["[[8.5]]", 8.5],
    ["[[10]]", 10],
    ["[[1]]", 1],
    ["[8]", 8],
    ["[7.25]", 7.25],
    ["[[8.]]", 8],
    ["Rating: [[7]]", 7],
    ["Rating: [7]", 7],
    ["**Rating:** [[6]]", 6],
    ["The answer is helpful.\n\nRating: [[9]]\n", 9],
    // Of several the first with two brackets counts, wherever one with a single bracket stands.
    ["[[3]] and later [[9]]", 3],
    ["[2] then [[9]]", 9],
    ["As source [1] says, it is right. Rating: 8", 1],
    ["[4] or [5]", 4],
    // What is not on the scale is not a rating, and nothing else is looked for.
    ["[[0]]", null],
    ["[[11]]", null],
    ["[[85]]", null],
    ["[[15]] I mean [[9]]", null],
    ["[0]", null],
  ])("%j is %j", (words, rating) => {
    expect(parseRating(words, SCALE, "reference")).toBe(rating);
    expect(parseRating(words, SCALE)).toBe(rating);
  });
});

describe("forms that only the tolerant parser reads", () => {
  test.each([
    ["[[ 8 ]]", 8],
    ["[[8/10]]", 8],
    ["[[8 / 10]]", 8],
    ["[[rating: 8]]", 8],
    ["[[Rating 8]]", 8],
    ["[[8,5]]", 8.5],
    ["[[**8**]]", 8],
    ["【8】", 8],
    ["［［8］］", 8],
    ["Rating: 8", 8],
    ["Rating: 8.5", 8.5],
    ["**Rating**: 9", 9],
    ["**Rating: 9**", 9],
    ["**Rating:** 9/10", 9],
    ["Rating = 9", 9],
    ["rating: 8 out of 10", 8],
    ["Score: 7", 7],
    ["Score: \"7\"", 7],
    ["I'd give it a score of 7.", 7],
    ["My overall rating is 6.", 6],
    ["The rating would be 6", 6],
    ["I would rate it a 6", 6],
    ["{\"rating\": 8, \"why\": \"fine\"}", 8],
    ["{'score':8}", 8],
    ["8/10", 8],
    ["I think 8 / 10 is fair.", 8],
    ["This deserves 8 out of 10.", 8],
    ["8", 8],
    [" 8.\n", 8],
    ["**8**", 8],
    // The verdict comes after the reasons.
    ["Accuracy score: 4, depth score: 6. Overall rating: 5", 5],
    ["helpfulness 6/10, detail 8/10, so 7/10", 7],
  ])("%j is %j, and nothing for the reference", (words, rating) => {
    expect(parseRating(words, SCALE)).toBe(rating);
    expect(parseRating(words, SCALE, "reference")).toBeNull();
  });
});

describe("no rating in any form", () => {
  test.each([
    "",
    "I cannot rate this answer.",
    "The answer is good.",
    "[[N/A]]",
    "[[-3]]",
    "[[]]",
    "Rating: excellent",
    "Rating: 0",
    "Rating: 11",
    "Score: 85/100",
    "4/5",
    "Rating: 4/5",
    "On 8/10/2024 the answer was given.",
    "The 8 facts are right.",
    "It was rated by 9 people.",
    "3 of the 10 steps are wrong.",
  ])("%j", (words) => {
    expect(parseRating(words, SCALE)).toBeNull();
    expect(parseRating(words, SCALE, "reference")).toBeNull();
  });
});

test("the scale decides what is a rating", () => {
  const harm = { min: 0, max: 1 };
  expect(parseRating("[[0]]", harm)).toBe(0);
  expect(parseRating("[[1]]", harm)).toBe(1);
  expect(parseRating("[[2]]", harm)).toBeNull();
  expect(parseRating("Rating: 1/1", harm)).toBe(1);
});
