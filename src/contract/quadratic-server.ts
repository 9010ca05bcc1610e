/**
 * A server's own training without a model: the emulator's adapter is a point of two numbers that a step moves towards the server's
 * sample by the learning rate, so that an alignment that is left out, repeated or begun elsewhere shows in what clients are sent.
 */
import { FedllmError } from "../errors.js";
import type { AlignmentDistance, AlignmentRequest, AlignmentResult, ServerTrainer } from "../federated/alignment.js";

const POINTS: readonly (readonly [number, number])[] = [[1, 0], [0, 2], [-1, 1]];

export class QuadraticServer implements ServerTrainer {
  readonly numSamples = POINTS.length;

  initialWeights(_adapter: AlignmentRequest["adapter"], seed: number): Float32Array {
    return Float32Array.of(0.5, (seed % 100) / 100);
  }

  align(request: AlignmentRequest, signal?: AbortSignal): Promise<AlignmentResult> {
    if (signal?.aborted === true) return Promise.reject(new FedllmError("CANCELLED", "the quadratic server was cancelled"));
    const weights = Float32Array.from(request.weights);
    const distances: AlignmentDistance[] = [];
    for (let step = 0; step < request.localSteps; step++) {
      const position = request.sampleIndices[step % request.sampleIndices.length] ?? 0;
      const point = POINTS[position] ?? [0, 0];
      distances.push({ hidden: Math.hypot(...point.map((p, i) => p - (weights[i] ?? 0))), divergence: Math.hypot(...request.globalWeights) });
      for (const [i, p] of point.entries()) weights[i] = (weights[i] ?? 0) + request.learningRate * (p - (weights[i] ?? 0));
    }
    const none = { hidden: 0, divergence: 0 };
    return Promise.resolve({ weights, first: distances[0] ?? none, last: distances.at(-1) ?? none });
  }
}
