/** How evenly clients are served, from one number of each; which way is better matters only to the worst ones. */

export interface Fairness {
  readonly numClients: number;
  /** Unweighted. */
  readonly mean: number;
  /** Mean of the worst tenth of the clients, at least one. */
  readonly worstTenth: number;
  /** Population standard deviation. */
  readonly standardDeviation: number;
  /** Standard deviation divided by the mean; absent where the mean is not above 0. */
  readonly variation?: number;
  /** Gini coefficient, 0 (all alike) to 1; absent for negative values or a sum of 0. */
  readonly gini?: number;
  /** Jain's index (Jain, Chiu and Hawe 1984), 1 / n to 1 (all alike); absent as the Gini coefficient. */
  readonly jain?: number;
}

/** Undefined for no clients. */
export function fairnessOf(values: readonly number[], higherIsBetter: boolean): Fairness | undefined {
  const { length: n } = values;
  if (n === 0) return undefined;
  const sorted = [...values].sort((left, right) => left - right);
  const sum = sorted.reduce((total, value) => total + value, 0);
  const mean = sum / n;
  const squares = sorted.reduce((total, value) => total + (value - mean) ** 2, 0);
  const standardDeviation = Math.sqrt(squares / n);
  const numWorst = Math.max(1, Math.round(n / 10));
  const worst = higherIsBetter ? sorted.slice(0, numWorst) : sorted.slice(-numWorst);
  const isShare = sum > 0 && (sorted[0] ?? -1) >= 0;
  return {
    numClients: n,
    mean,
    worstTenth: worst.reduce((total, value) => total + value, 0) / numWorst,
    standardDeviation,
    ...(mean > 0 ? { variation: standardDeviation / mean } : {}),
    ...(isShare
      ? {
          // Sum over pairs |x_i - x_j| / (2 n^2 mean), by the ranks of the sorted values.
          gini: sorted.reduce((total, value, index) => total + (2 * (index + 1) - n - 1) * value, 0) / (n * sum),
          jain: sum ** 2 / (n * sorted.reduce((total, value) => total + value ** 2, 0)),
        }
      : {}),
  };
}
