/** Client ids that a configuration names, against the clients that the data has. */
import type { ArmConfig } from "../config/schema.js";
import { problemError } from "../errors.js";

/**
 * Throws CONFIG_INVALID for a client of training.fixedClients that does not take part: its arm could not run. Ranks and
 * devices may be named for more clients than take part; those are returned, one sentence per field and arm.
 */
export function checkNamedClients(arms: readonly ArmConfig[], clientIds: readonly string[]): readonly string[] {
  const known = new Set(clientIds);
  const missing = (ids: readonly string[]) => ids.filter((id) => !known.has(id));
  const warnings: string[] = [];
  for (const { name, training, strategyOptions, federation } of arms) {
    const [fixed] = missing(training.fixedClients ?? []);
    if (fixed !== undefined) {
      throw problemError("CONFIG_INVALID", {
        subject: `training.fixedClients of arm ${name}`,
        expected: "ids of clients that take part",
        received: JSON.stringify(fixed),
        remedy: "`fedllm-native data inspect` lists them",
      });
    }
    const { clientRanks = [] } = strategyOptions;
    const named: readonly (readonly [field: string, ids: readonly string[]])[] = [
      ["strategyOptions.clientRanks", Array.isArray(clientRanks) ? [] : Object.keys(clientRanks)],
      ["federation.devices.clients", Object.keys(federation.devices?.clients ?? {})],
    ];
    for (const [field, ids] of named) {
      const unknown = missing(ids);
      if (unknown.length > 0) warnings.push(`${field} of arm ${name} names clients that do not take part: ${unknown.slice(0, SHOWN_MAX).join(", ")}`);
    }
  }
  return warnings;
}

/** Ids that a warning lists. */
const SHOWN_MAX = 5;
