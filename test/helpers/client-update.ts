/** An update as a client would send it, for tests of what the server makes of it. */
import type { ClientUpdate } from "../../src/federated/protocol.js";

/** The answer of a client with that many examples whose weights moved by `change`. */
export function makeUpdate(clientId: string, numExamples: number, change: Iterable<number>): ClientUpdate {
  return {
    clientId,
    numExamples,
    round: 1,
    update: Float32Array.from(change),
    layoutFingerprint: "",
    numSamples: 1,
    numSteps: 1,
    numTokens: 1,
    numSupervisedTokens: 1,
    trainLoss: 0,
    firstTrainLoss: 0,
    lastTrainLoss: 0,
    trainDurationMs: 1,
  };
}
