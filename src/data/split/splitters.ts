/**
 * Ways to deal samples out to clients when nobody knows who wrote them. Each gives, for every sample, the number of its client.
 * All draws come from the generator that is passed, so the same seed gives the same split.
 */
import type { PythonRandom } from "../python-random.js";
import { drawDirichlet } from "./dirichlet.js";

/** What is dealt out. */
export interface SplitInput {
  /** Class of each sample, 0 to numClasses - 1; methods that look at no classes leave it alone. */
  readonly classes: Uint32Array;
  readonly numClasses: number;
  readonly numClients: number;
  readonly random: PythonRandom;
}

/** Equal shares of samples drawn at random; sizes differ by one at most. */
export function splitIid({ classes, numClients, random }: SplitInput): Uint32Array {
  const owners = new Uint32Array(classes.length);
  for (const [place, sample] of shuffled(classes.length, random).entries()) owners[sample] = Math.floor((place * numClients) / classes.length);
  return owners;
}

/**
 * Every class is shared among the clients in proportions drawn from a symmetric Dirichlet distribution: a small alpha gives each
 * class to few clients, a large one nears iid (Yurochkin et al. 2019, "Bayesian Nonparametric Federated Learning of Neural Networks").
 */
export function splitDirichlet({ classes, numClasses, numClients, random }: SplitInput, alpha: number): Uint32Array {
  const owners = new Uint32Array(classes.length);
  for (const members of membersOf(classes, numClasses)) {
    random.shuffle(members);
    const shares = drawDirichlet(numClients, alpha, random);
    dealByShares(members, shares, owners);
  }
  return owners;
}

/** Samples drawn at random, clients of very different sizes: the shares of all samples are drawn from a Dirichlet distribution. */
export function splitQuantity({ classes, numClients, random }: SplitInput, alpha: number): Uint32Array {
  const owners = new Uint32Array(classes.length);
  const order = shuffled(classes.length, random);
  dealByShares(order, drawDirichlet(numClients, alpha, random), owners);
  return owners;
}

/**
 * Samples sorted by class are cut into equal shards, of which every client gets the same number, so that it sees few classes
 * (McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from Decentralized Data").
 */
export function splitPathological({ classes, numClasses, numClients, random }: SplitInput, shardsPerClient: number): Uint32Array {
  const owners = new Uint32Array(classes.length);
  const sorted = membersOf(classes, numClasses).flatMap((members) => {
    random.shuffle(members);
    return members;
  });
  const numShards = numClients * shardsPerClient;
  const shardOwners = shuffled(numShards, random).map((shard) => shard % numClients);
  for (const [place, sample] of sorted.entries()) owners[sample] = shardOwners[Math.floor((place * numShards) / sorted.length)] ?? 0;
  return owners;
}

/** Cuts the list at the cumulated shares and gives each part to its client. */
function dealByShares(members: readonly number[], shares: readonly number[], owners: Uint32Array): void {
  let client = 0;
  let reached = shares[0] ?? 0;
  for (const [place, sample] of members.entries()) {
    // The last client takes what rounding leaves.
    while ((place + 0.5) / members.length > reached && client < shares.length - 1) {
      client++;
      reached += shares[client] ?? 0;
    }
    owners[sample] = client;
  }
}

function membersOf(classes: Uint32Array, numClasses: number): number[][] {
  const members = Array.from({ length: numClasses }, (): number[] => []);
  for (const [sample, label] of classes.entries()) members[label]?.push(sample);
  return members;
}

function shuffled(length: number, random: PythonRandom): number[] {
  const order = Array.from({ length }, (_, index) => index);
  random.shuffle(order);
  return order;
}
