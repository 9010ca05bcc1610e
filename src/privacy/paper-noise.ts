/**
 * The noise of FedLLM-Bench (Ye et al. 2024, "user-level differential privacy"), for comparison with its figures: each client adds noise to
 * every weight it sends, of standard deviation
 *   sigma = (2 lr C / (n / N)) sqrt(2 q T ln(1 / delta)) / epsilon
 * with lr the first learning rate, C the norm gradients are clipped to, n all samples, N clients, q = S / N and T rounds.
 */
import { RandomStream, insecureSecret } from "./random-stream.js";

/** Why the epsilon of this formula is no guarantee. */
export const PAPER_WARNING =
  "dp: paper adds noise by FedLLM-Bench's formula, and its epsilon is no guarantee: the sensitivity 2 lr C / (n / N) takes a client's whole training for one " +
  "plain gradient step, while localSteps steps of AdamW move the weights much further and no update is clipped; a client's weight in the mean is not in it; and the " +
  "factor sqrt(q) stands for a sampling that is not done. Use dp: user for a guarantee";

export interface PaperNoiseOptions {
  readonly epsilon: number;
  readonly delta: number;
  readonly learningRate: number;
  readonly maxGradientNorm: number;
  readonly totalSamples: number;
  readonly numClients: number;
  readonly clientsPerRound: number;
  readonly numRounds: number;
}

/** sigma of the formula. */
export function paperNoiseStd({ epsilon, delta, learningRate, maxGradientNorm, totalSamples, numClients, clientsPerRound, numRounds }: PaperNoiseOptions): number {
  const sensitivity = (2 * learningRate * maxGradientNorm) / (totalSamples / numClients);
  return (sensitivity * Math.sqrt(2 * (clientsPerRound / numClients) * numRounds * Math.log(1 / delta))) / epsilon;
}

/** Values with noise of that standard deviation, by Box and Muller's transform; the same for the same seed, round and client. */
export function addPaperNoise(values: Float32Array, std: number, draw: { readonly seed: number; readonly round: number; readonly clientId: string }): Float32Array {
  const stream = new RandomStream(insecureSecret(draw.seed), JSON.stringify(["paper noise", draw.round, draw.clientId]));
  return values.map((value) => {
    const radius = Math.sqrt(-2 * Math.log((stream.next53() + 1) / 2 ** 53));
    return value + std * radius * Math.cos((2 * Math.PI * stream.next53()) / 2 ** 53);
  });
}
