/**
 * Clients of different rank. All train in the adapter's common layout, with the common scale loraAlpha / rank: a client of
 * lower rank gets the first rows of A and columns of B, and what lies behind stays zero.
 */
import type { AdapterLayout } from "../adapter/layout.js";
import { uniformRanks, type AdapterSlice } from "../adapter/slice.js";
import { problemError } from "../errors.js";
import { deriveSeed } from "../util/random.js";

/**
 * Ranks by client id, where a client that is not named has the full one; or a list, of which each client has an entry by its
 * id, whoever else takes part. An empty list: everybody has the full rank.
 */
export type ClientRanks = readonly number[] | Readonly<Record<string, number>>;

/** The rank of a client. Throws CONFIG_INVALID for one above the adapter's. */
export function rankOfClient(clientId: string, ranks: ClientRanks, layout: AdapterLayout): number {
  const rank = isList(ranks)
    ? (ranks[deriveSeed(0, "client-rank", clientId) % Math.max(1, ranks.length)] ?? layout.rank)
    : Object.hasOwn(ranks, clientId)
      ? (ranks[clientId] ?? layout.rank)
      : layout.rank;
  if (rank <= layout.rank) return rank;
  throw problemError("CONFIG_INVALID", {
    subject: `strategyOptions.clientRanks of client ${JSON.stringify(clientId)}`,
    expected: `at most the adapter's rank ${String(layout.rank)}`,
    received: String(rank),
    remedy: "Raise lora.rank to the highest rank of a client",
  });
}

/** Both halves of each pair in that rank; undefined, which is everything, for the full one. */
export function sliceOfRank(layout: AdapterLayout, rank: number): AdapterSlice | undefined {
  return rank >= layout.rank ? undefined : { half: "both", ranks: uniformRanks(layout, rank) };
}

function isList(ranks: ClientRanks): ranks is readonly number[] {
  return Array.isArray(ranks);
}
