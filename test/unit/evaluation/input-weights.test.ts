/** Weights of clients' adapters by input: cosines, what is compared with what, and the scales that come of it. */
import { describe, expect, test } from "vitest";
import { cosine, inputOf, makeWeightOfInput, weighInput } from "../../../src/evaluation/input-weights.js";
import type { TokenizedSample } from "../../../src/federated/local-trainer.js";
import { pairLayout } from "../../helpers/pair-layout.js";

const sample = (...tokens: readonly number[]): TokenizedSample => ({ tokens: Int32Array.from(tokens), supervised: Uint8Array.from(tokens, (_, i) => (i < 2 ? 0 : 1)) });

describe("the weight of an input", () => {
  /** The first two tokens are the representation. */
  const make = (clients: Readonly<Record<string, readonly TokenizedSample[]>>, heldOut: readonly TokenizedSample[]) => {
    const asked: number[] = [];
    const weightOf = makeWeightOfInput(
      (inputs) => {
        asked.push(inputs.length);
        return Promise.resolve(inputs.map(({ tokens }) => Float32Array.of(tokens[0] ?? 0, tokens[1] ?? 0)));
      },
      heldOut,
      (clientId) => clients[clientId] ?? [],
    );
    return { weightOf, asked };
  };

  test("is the mean cosine of it and the client's inputs, at least 0", async () => {
    const { weightOf } = make({ a: [sample(1, 0, 9), sample(1, 1, 8)], opposite: [sample(-2, 0, 7)], empty: [] }, [sample(3, 0, 5), sample(0, 2, 6)]);
    expect(await weightOf("a", 0)).toBeCloseTo((1 + Math.SQRT1_2) / 2, 12);
    expect(await weightOf("a", 1)).toBeCloseTo(Math.SQRT1_2 / 2, 12);
    expect(await weightOf("opposite", 0)).toBe(0);
    expect(await weightOf("empty", 0)).toBe(0);
  });

  test("asks once for what a client's inputs and an example look like", async () => {
    const { weightOf, asked } = make({ a: [sample(1, 0, 9), sample(1, 1, 8)], b: [sample(1, 1, 1)] }, [sample(3, 0, 5), sample(0, 2, 6)]);
    for (const client of ["a", "b", "a"]) for (const position of [0, 1]) await weightOf(client, position);
    expect(asked.sort()).toEqual([1, 1, 1, 2]);
  });

  test("goes by the tokens before the answer, of a pair by those before both", () => {
    const [chosen, rejected] = [sample(4, 5, 6, 7), sample(4, 5, 8)];
    const input = { tokens: Int32Array.of(4, 5, 6), supervised: Uint8Array.of(0, 0, 1) };
    expect(inputOf(chosen)).toEqual(input);
    expect(inputOf({ chosen, rejected })).toEqual(input);
  });

  test("of a vector without length is 0", () => {
    expect(cosine(Float32Array.of(0, 0), Float32Array.of(1, 2))).toBe(0);
    expect(cosine(Float32Array.of(1, -2), Float32Array.of(-2, 4))).toBeCloseTo(-1, 12);
  });
});

test("the weight of training leaves both adapters as they are; 0 and 1 leave one of them out", () => {
  const layout = pairLayout(1, [["blk.0.attn_q.weight", 2, 2]]);
  const weights = Float32Array.of(1, 2, 3, 4);
  const frozen = [{ rank: 1, loraAlpha: 0.5, targetModules: ["attn_q"], weights: Float32Array.of(5, 6, 7, 8) }];
  const parts = { weights, frozen };
  expect(weighInput(layout, parts, 0.25, 0.75)).toEqual(parts);
  expect(weighInput(layout, parts, 0.25, 0)).toEqual({ weights: Float32Array.of(1, 2, 0, 0), frozen: [{ ...frozen[0], loraAlpha: 2 }] });
  expect(weighInput(layout, parts, 0.5, 1)).toEqual({ weights: Float32Array.of(1, 2, 6, 8), frozen: [] });
});
