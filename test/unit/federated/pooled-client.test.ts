import { expect, test } from "vitest";
import { poolClients } from "../../../src/federated/pooled-client.js";
import { sequencesOf } from "../../../src/federated/local-trainer.js";
import { makeClient } from "../../../src/contract/federation.js";
import { pointSample } from "../../../src/contract/quadratic-trainer.js";

const pool = poolClients([
  makeClient("a", [pointSample(1), pointSample(2)]),
  makeClient("empty", []),
  makeClient("b", [pointSample(3), pointSample(4), pointSample(5)]),
]);

test("the pool is the clients' samples one after the other", async () => {
  expect(pool.numSamples).toBe(5);
  const samples = sequencesOf(await pool.readSamples([0, 1, 2, 3, 4]));
  expect(samples.map(({ tokens }) => tokens[0])).toEqual([100, 200, 300, 400, 500]);
});

test("samples come in the order asked for, across clients and repeated", async () => {
  const samples = sequencesOf(await pool.readSamples([4, 0, 2, 1, 4]));
  expect(samples.map(({ tokens }) => tokens[0])).toEqual([500, 100, 300, 200, 500]);
});
