/** How old an update is for the server that gets it. */
import type { ClientUpdate } from "./protocol.js";

/** Versions that the server made since it sent the weights; 0 in a round of all at once. */
export function stalenessOf({ delay }: ClientUpdate): number {
  return delay?.staleness ?? 0;
}
