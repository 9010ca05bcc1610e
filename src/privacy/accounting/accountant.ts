/**
 * The accountant: what a list of Gaussian releases costs together, as epsilon for a delta. Both ways of counting are upper bounds: `rdp`
 * by Renyi differential privacy, `pld` by the composed privacy loss, which is tighter and takes longer. Releases without sampling are
 * one Gaussian with the sum of their 1 / sigma^2, whose epsilon is exact.
 */
import { assert } from "../../util/assert.js";
import { epsilonOfGaussian } from "./analytic-gaussian.js";
import { composedEpsilon, type RepeatedGaussian } from "./composition.js";
import { epsilonOfRdp, type Conversion, type RdpEpsilon } from "./conversion.js";
import { rdpOfSampledGaussian } from "./rdp.js";
import { rdpOfFixedSizeGaussian } from "./without-replacement.js";

/** How the units of a release are drawn. `fixedSize`: so many without replacement, for which only RDP is counted and units are replaced. */
export type Sampling = "poisson" | "fixedSize";

/** A number of equal releases. */
export interface PrivacyEvent extends RepeatedGaussian {
  /** Default: poisson. */
  readonly sampling?: Sampling;
}

/** What a neighbouring data set is: one unit more or less, or one unit's data replaced. */
export type Adjacency = "addRemove" | "replaceOne";

/** How releases are counted. */
export type AccountingMethod = "rdp" | "pld";

/** Orders of RDP: 1.1 to 10.9 in tenths and 12 to 63, as is usual, and some beyond for very small and very large costs. */
export const DEFAULT_ORDERS: readonly number[] = [
  ...[1.0001, 1.001, 1.003, 1.01, 1.02, 1.05],
  ...Array.from({ length: 99 }, (_, i) => (11 + i) / 10),
  ...Array.from({ length: 52 }, (_, i) => 12 + i),
  ...[72, 80, 96, 112, 128, 160, 192, 224, 256, 384, 512, 768, 1024, 2048, 4096, 8192],
];

/** Points of the grid of losses: 2^18 take half a second and leave less than 1e-6 of the usual epsilons. */
export const DEFAULT_POINTS = 2 ** 18;

/** RDP of all events at an order; throws nothing and is Infinity without noise. */
export function rdpOfEvents(events: readonly PrivacyEvent[], order: number): number {
  return events.reduce((sum, event) => {
    const one = event.sampling === "fixedSize" ? rdpOfFixedSizeGaussian(event, order) : rdpOfSampledGaussian(event, order);
    return event.count === 0 ? sum : sum + event.count * one;
  }, 0);
}

/** Epsilon by RDP and the order that gave it. With events of fixed size the adjacency is replacement, otherwise adding or removing. */
export function rdpEpsilon(
  events: readonly PrivacyEvent[],
  delta: number,
  { orders = DEFAULT_ORDERS, conversion = "improved" }: { readonly orders?: readonly number[]; readonly conversion?: Conversion } = {},
): RdpEpsilon {
  return epsilonOfRdp((order) => rdpOfEvents(events, order), orders, delta, conversion);
}

/** Epsilon by the composed privacy loss; Infinity for events of fixed size and where no grid of that many points is fine enough. */
export function pldEpsilon(
  events: readonly PrivacyEvent[],
  delta: number,
  { adjacency = "addRemove", points = DEFAULT_POINTS }: { readonly adjacency?: Adjacency; readonly points?: number } = {},
): number {
  const counted = events.filter(({ count, sampleRate }) => count > 0 && sampleRate > 0);
  if (counted.some(({ sampling }) => sampling === "fixedSize")) return Number.POSITIVE_INFINITY;
  if (counted.length === 0) return 0;
  if (counted.some(({ noiseMultiplier }) => noiseMultiplier === 0)) return Number.POSITIVE_INFINITY;
  const merged = mergeUnsampled(counted);
  const [sole] = merged;
  const reach = adjacency === "replaceOne" ? 2 : 1;
  if (merged.length === 1 && sole?.sampleRate === 1) return epsilonOfGaussian(reach / sole.noiseMultiplier, delta);
  if (adjacency === "replaceOne") return composedEpsilon(merged, "replace", delta, points);
  return Math.max(composedEpsilon(merged, "remove", delta, points), composedEpsilon(merged, "add", delta, points));
}

/** All events without sampling as one, and equal events together. */
function mergeUnsampled(events: readonly RepeatedGaussian[]): readonly RepeatedGaussian[] {
  const counts = new Map<string, RepeatedGaussian>();
  let precision = 0;
  for (const { sampleRate, noiseMultiplier, count } of events) {
    if (sampleRate === 1) {
      precision += count / noiseMultiplier / noiseMultiplier;
      continue;
    }
    const key = JSON.stringify([sampleRate, noiseMultiplier]);
    counts.set(key, { sampleRate, noiseMultiplier, count: count + (counts.get(key)?.count ?? 0) });
  }
  const unsampled = precision === 0 ? [] : [{ sampleRate: 1, noiseMultiplier: 1 / Math.sqrt(precision), count: 1 }];
  return [...counts.values(), ...unsampled];
}

/** The least proven epsilon >= 0 of the events for delta in (0, 1), adding or removing one unit (replacing it with fixed-size events). */
export function epsilonOfEvents(events: readonly PrivacyEvent[], delta: number, method: AccountingMethod, points?: number): number {
  assert(delta > 0 && delta < 1, "delta lies between 0 and 1");
  const byRdp = rdpEpsilon(events, delta).epsilon;
  if (method === "rdp") return byRdp;
  return Math.min(byRdp, pldEpsilon(events, delta, points === undefined ? {} : { points }));
}
