/** Goal: held-out parts depend on seed, client id and the client's own samples only, and limits on clients keep file order. */
import { describe, expect, it } from "vitest";
import type { FederatedDataset } from "../../../src/data/dataset.js";
import { splitFederatedDataset } from "../../../src/data/federated-dataset.js";
import type { Sample, SampleKind } from "../../../src/data/samples.js";

/** A data set with the given number of samples per user; each sample names its user and position. */
function makeDataset(sizes: Readonly<Record<string, number>>, kind: SampleKind = "single-turn"): FederatedDataset {
  const clients = Object.entries(sizes).map(([id, size]) => ({
    id,
    samples: Array.from({ length: size }, (_, index) => ({
      kind: "single-turn" as const,
      instruction: `${id} ${index}`,
      response: "r",
    })),
  }));
  const numSamples = clients.reduce((sum, client) => sum + client.samples.length, 0);
  return { path: "clients.json", kind, clients, problems: [], numProblems: 0, sha256: "", numSamples };
}

const dataset = makeDataset({ big: 40, small: 5, twin: 40, none: 0, one: 1 });
const names = (samples: readonly Sample[]): string[] =>
  samples.map((sample) => (sample.kind === "single-turn" ? sample.instruction : ""));

describe("splitFederatedDataset", () => {
  it("holds out the rounded share of each client and keeps the file's order in both parts", () => {
    const { clients } = splitFederatedDataset(dataset, { seed: 0, heldOutFraction: 0.1 });
    expect(clients.map(({ id, train, heldOut }) => [id, train.length, heldOut.length])).toEqual([
      ["big", 36, 4],
      ["small", 4, 1],
      ["twin", 36, 4],
      ["one", 1, 0],
    ]);
    for (const client of clients) {
      const positions = (samples: readonly Sample[]): number[] =>
        names(samples).map((name) => Number(name.split(" ")[1]));
      for (const part of [client.train, client.heldOut])
        expect(positions(part)).toEqual(positions(part).sort((a, b) => a - b));
      const all = [...positions(client.train), ...positions(client.heldOut)].sort((a, b) => a - b);
      expect(all).toEqual(Array.from({ length: all.length }, (_, index) => index));
    }
  });

  it("gives a client the same split whatever other clients there are", () => {
    const options = { seed: 7, heldOutPerClient: 10 };
    const [alone] = splitFederatedDataset(makeDataset({ twin: 40 }), options).clients;
    expect(splitFederatedDataset(dataset, options).clients.find(({ id }) => id === "twin")).toEqual(alone);
  });

  it("chooses differently for clients of equal size and for other seeds, 0 being a seed", () => {
    const positionsFor = (seed: number): string[] =>
      splitFederatedDataset(dataset, { seed, heldOutPerClient: 10 }).clients.map(({ heldOut }) =>
        names(heldOut)
          .map((name) => name.split(" ")[1])
          .join(" "),
      );
    const [big, , twin] = positionsFor(0);
    expect(big).not.toBe(twin);
    expect(positionsFor(1)[0]).not.toBe(big);
    expect(positionsFor(0)[0]).toBe(big);
  });

  it("never holds out more than half of a client when a number was asked for, and never all when a share was", () => {
    const byNumber = splitFederatedDataset(dataset, { seed: 0, heldOutPerClient: 10 });
    expect(byNumber.clients.map(({ heldOut }) => heldOut.length)).toEqual([10, 2, 10, 0]);
    const byShare = splitFederatedDataset(dataset, { seed: 0, heldOutFraction: 0.99 });
    expect(byShare.clients.map(({ train }) => train.length)).toEqual([1, 1, 1, 1]);
  });

  it("leaves out users below the limit first and then all but the first of the others", () => {
    const split = splitFederatedDataset(dataset, { seed: 0, minSamples: 5, maxClients: 2 });
    expect(split.clients.map(({ id }) => id)).toEqual(["big", "small"]);
    expect(split.leftOut).toEqual([
      { id: "twin", numSamples: 40 },
      { id: "none", numSamples: 0 },
      { id: "one", numSamples: 1 },
    ]);
    expect(split.heldOutGroups).toEqual([]);
  });

  it("makes the overall held-out set of the clients' parts when there is no file for it", () => {
    const split = splitFederatedDataset(dataset, { seed: 0, heldOutFraction: 0.1 });
    expect(split.heldOutGroups.map(({ id, samples }) => [id, samples.length])).toEqual([
      ["big", 4],
      ["small", 1],
      ["twin", 4],
    ]);
  });

  it("takes the overall held-out set from a file of its own and gives clients the groups with their ids", () => {
    const heldOutDataset = makeDataset({ small: 3, general: 6, empty: 0 });
    const split = splitFederatedDataset(dataset, { seed: 0, heldOutDataset });
    expect(split.heldOutGroups.map(({ id, samples }) => [id, samples.length])).toEqual([
      ["small", 3],
      ["general", 6],
    ]);
    expect(split.clients.map(({ train, heldOut }) => [train.length, heldOut.length])).toEqual([
      [40, 0],
      [5, 3],
      [40, 0],
      [1, 0],
    ]);
  });

  it.each([
    ["both ways to hold out", { heldOutFraction: 0.1, heldOutPerClient: 1 }, "heldOutFraction"],
    ["a share of 1", { heldOutFraction: 1 }, "heldOutFraction"],
    ["a share that is no number", { heldOutFraction: Number.NaN }, "heldOutFraction"],
    ["half a sample", { heldOutPerClient: 0.5 }, "heldOutPerClient"],
    ["no clients", { maxClients: 0 }, "maxClients"],
    ["a negative limit", { minSamples: -1 }, "minSamples"],
    ["a limit that nobody reaches", { minSamples: 41 }, "the largest of 5 users in clients.json has 40 samples"],
    [
      "held-out samples of another kind",
      { heldOutDataset: makeDataset({ a: 1 }, "preference") },
      "received preference",
    ],
  ])("refuses %s", (_, options, message) => {
    expect(() => splitFederatedDataset(dataset, { seed: 0, ...options })).toThrow(message);
  });
});
