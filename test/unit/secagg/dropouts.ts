/** Patterns of dropouts drawn by a seed, and when an attempt must succeed with one: worked out from the graph alone. */
import type { AttemptOptions, AttemptParameters } from "../../../src/secagg/parameters.js";
import { neighboursOf } from "../../../src/secagg/parameters.js";
import type { ServerStage } from "../../../src/secagg/server.js";
import { createWordStream } from "../../../src/util/random.js";

/** Stages before whose message a client may leave. */
export const LEAVING: readonly ServerStage[] = ["keys", "shares", "masked", "reveal"];

/** An attempt of 3 to `most` clients, and who leaves when: with a rate that is drawn too, so that about half of the attempts fail. */
export function seededPattern(seed: number, most: number) {
  const next = createWordStream(seed);
  const numClients = 3 + (next() % (most - 2));
  const neighbours = 2 + 2 * (next() % 4);
  const thresholdFraction = 0.55 + (next() % 4) / 10;
  const options: AttemptOptions = { round: 1 + seed, numClients, neighbours, thresholdFraction, length: 1 + (next() % 9), bits: 16 + (next() % 17) };
  const rate = (next() % 64) / 128;
  const leaving = Array.from({ length: numClients }, () => {
    const stage = LEAVING[next() % 4];
    return next() / 2 ** 32 < rate ? stage : undefined;
  });
  return { options, leavesBefore: (client: number) => leaving[client] };
}

/** Enough are left at each stage, of all and of those with shares of each client whose secret may be needed. */
export function expectedToSucceed(parameters: AttemptParameters, leavesBefore: (client: number) => ServerStage | undefined): boolean {
  const { numClients, minSurvivors, threshold } = parameters;
  const neighbours = neighboursOf(parameters);
  const everybody = Array.from({ length: numClients }, (_, index) => index);
  const presentAt = (stage: number) => new Set(everybody.filter((client) => !LEAVING.slice(0, stage + 1).includes(leavesBefore(client) ?? "done")));
  const [withKeys, withShares, summed, revealing] = [presentAt(0), presentAt(1), presentAt(2), presentAt(3)];
  const needed = [...withShares].filter((client) => summed.has(client) || (neighbours[client] ?? []).some((other) => summed.has(other)));
  const reaches = (present: ReadonlySet<number>, owners: Iterable<number>) =>
    present.size >= minSurvivors && [...owners].every((owner) => [owner, ...(neighbours[owner] ?? [])].filter((other) => present.has(other)).length >= threshold);
  return reaches(withKeys, withKeys) && reaches(withShares, withShares) && reaches(summed, needed) && reaches(revealing, needed);
}
