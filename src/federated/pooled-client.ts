/** One participant that has the data of all clients, or of a group's, one client's samples after another's in the order of the list. */
import { assert } from "../util/assert.js";
import { pooledIdOf, splitByGroup } from "./groups.js";
import type { TrainingExample } from "./local-trainer.js";
import type { FederatedClient, GroupOf } from "./protocol.js";

/** Id of the pooled participant in rows and events. */
export const POOLED_CLIENT_ID = "pooled";

/** The one participant of a strategy of pooled data, or one for each group. */
export function poolParticipants(clients: readonly FederatedClient[], groups: GroupOf | undefined): readonly FederatedClient[] {
  if (groups === undefined) return [poolClients(clients)];
  return splitByGroup(clients, groups, ({ id }) => id).map((members) => poolClients(members, pooledIdOf(groups.get(members[0]?.id ?? "") ?? "")));
}

/** Index i of the pool is the i-th sample of the concatenated clients; only the samples asked for are read. */
export function poolClients(clients: readonly FederatedClient[], id = POOLED_CLIENT_ID): FederatedClient {
  const starts: number[] = [];
  let numSamples = 0;
  for (const client of clients) {
    starts.push(numSamples);
    numSamples += client.numSamples;
  }
  return {
    id,
    numSamples,
    async readSamples(indices) {
      const positions = indices.map((index) => locate(starts, index));
      const result = new Array<TrainingExample | undefined>(indices.length);
      for (const [clientIndex, client] of clients.entries()) {
        const slots = [...positions.entries()].filter(([, position]) => position.clientIndex === clientIndex);
        if (slots.length === 0) continue;
        const samples = await client.readSamples(slots.map(([, position]) => position.sampleIndex));
        for (const [k, [slot]] of slots.entries()) result[slot] = samples[k];
      }
      return result.map((sample) => {
        assert(sample !== undefined, "a client returns as many samples as were asked for");
        return sample;
      });
    },
  };
}

/** The last client that starts at or before the index; empty clients share a start with the next one and are passed. */
function locate(starts: readonly number[], index: number): { clientIndex: number; sampleIndex: number } {
  const clientIndex = starts.findLastIndex((start) => start <= index);
  return { clientIndex, sampleIndex: index - (starts[clientIndex] ?? 0) };
}
