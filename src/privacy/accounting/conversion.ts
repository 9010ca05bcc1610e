/**
 * From Renyi differential privacy to (epsilon, delta). `classic` is Mironov 2017, proposition 3: epsilon = RDP + log(1 / delta) / (a - 1).
 * `improved` is Balle et al. 2020, "Hypothesis Testing Interpretations and Renyi Differential Privacy", theorem 21 (also Canonne,
 * Kamath, Steinke 2020, proposition 12): epsilon = RDP + log((a - 1) / a) - (log delta + log a) / (a - 1). Both hold at every order.
 */

/** How RDP becomes epsilon. */
export type Conversion = "improved" | "classic";

/** The least epsilon over the orders and the order that gives it. */
export interface RdpEpsilon {
  readonly epsilon: number;
  readonly order: number;
}

/** Epsilon by one order; at least 0. `delta` is above 0 and below 1. */
export function epsilonAtOrder(rdp: number, order: number, delta: number, conversion: Conversion = "improved"): number {
  if (rdp === 0) return 0;
  if (order === Number.POSITIVE_INFINITY) return rdp;
  const excess = order - 1;
  const epsilon =
    conversion === "classic"
      ? rdp - Math.log(delta) / excess
      : rdp + Math.log1p(-1 / order) - (Math.log(delta) + Math.log(order)) / excess;
  return Math.max(0, epsilon);
}

/** The least epsilon that one of the orders gives for the RDP there. */
export function epsilonOfRdp(rdpOf: (order: number) => number, orders: readonly number[], delta: number, conversion?: Conversion): RdpEpsilon {
  let best: RdpEpsilon = { epsilon: Number.POSITIVE_INFINITY, order: orders[0] ?? Number.POSITIVE_INFINITY };
  for (const order of orders) {
    const epsilon = epsilonAtOrder(rdpOf(order), order, delta, conversion);
    if (epsilon < best.epsilon) best = { epsilon, order };
  }
  return best;
}

/** The least delta for an epsilon, by the same inequality read the other way; at most 1. */
export function deltaOfRdp(rdpOf: (order: number) => number, orders: readonly number[], epsilon: number, conversion: Conversion = "improved"): number {
  const logs = orders.map((order) => {
    const rdp = rdpOf(order);
    if (rdp === 0) return Number.NEGATIVE_INFINITY;
    const plain = (order - 1) * (rdp - epsilon);
    return conversion === "classic" ? plain : plain + (order - 1) * Math.log1p(-1 / order) - Math.log(order);
  });
  return Math.min(1, Math.exp(Math.min(...logs)));
}
