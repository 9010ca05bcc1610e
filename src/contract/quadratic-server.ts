/**
 * A server's own training without a model: the emulator's adapter w is a point of two numbers, and with p one of the server's points, g
 * the mean of the clients' adapter and n 2 for a layerwise loss, 1 for a plain one, a step of plain SGD lessens
 *   hiddenWeight n |w - p|^2 / 2 + divergenceWeight |w - (g, g)|^2 / 2 + (proximalMu / 2) |w - start|^2
 * so that an alignment that is left out, repeated, begun elsewhere or asked for otherwise shows in what clients are sent.
 */
import { FedllmError } from "../errors.js";
import type { AlignmentDistance, AlignmentRequest, AlignmentResult, ServerTrainer } from "../federated/alignment.js";

type Point = readonly [number, number];

const POINTS: readonly Point[] = [[1, 0], [0, 2], [-1, 1]];

export class QuadraticServer implements ServerTrainer {
  readonly numSamples = POINTS.length;

  initialWeights(_adapter: AlignmentRequest["adapter"], seed: number): Float32Array {
    return Float32Array.of(0.5, (seed % 100) / 100);
  }

  align(request: AlignmentRequest, signal?: AbortSignal): Promise<AlignmentResult> {
    if (signal?.aborted === true) return Promise.reject(new FedllmError("CANCELLED", "the quadratic server was cancelled"));
    const weights = Float32Array.from(request.weights);
    const { globalWeights, sampleIndices, hiddenWeight, divergenceWeight, proximalMu, learningRate } = request;
    const mean = globalWeights.reduce((sum, weight) => sum + weight, 0) / globalWeights.length;
    const numCompared = request.hiddenLoss === "layerwise" ? 2 : 1;
    const distances: AlignmentDistance[] = [];
    for (let step = 0; step < request.localSteps; step++) {
      const point = POINTS[sampleIndices[step % sampleIndices.length] ?? 0] ?? [0, 0];
      distances.push({ hidden: (numCompared * squaredDistance(weights, point)) / 2, divergence: squaredDistance(weights, [mean, mean]) / 2 });
      for (const [i, w] of weights.entries()) {
        const pull = hiddenWeight * numCompared * (w - (point[i] ?? 0)) + divergenceWeight * (w - mean) + proximalMu * (w - (request.weights[i] ?? 0));
        weights[i] = w - learningRate * pull;
      }
    }
    const none = { hidden: 0, divergence: 0 };
    return Promise.resolve({ weights, first: distances[0] ?? none, last: distances.at(-1) ?? none });
  }
}

function squaredDistance(weights: Float32Array, point: Point): number {
  return weights.reduce((sum, w, i) => sum + (w - (point[i] ?? 0)) ** 2, 0);
}
