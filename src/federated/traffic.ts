/**
 * Bytes that cross between server and client in a round, counted from the vectors that are really handed over, as encoded. Headers
 * (ids, counts, rates, ranks: some dozen bytes) are not counted, for any method.
 */
import { innerLength } from "../adapter/inner.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { sliceLength } from "../adapter/slice.js";
import type { ClientUpdate, TrainTask } from "./protocol.js";
import { encodedBytes } from "./wire-precision.js";

/** Server to client. What a client has already (`known`, the anchor it starts from) is not sent. */
export function downloadBytes({ weights, encoding, sentOuter, sentFrozen, serverControlVariate }: TrainTask): number {
  const others = [sentOuter, sentFrozen, serverControlVariate];
  return others.reduce((sum, vector) => sum + (vector?.byteLength ?? 0), encodedBytes(weights.length, encoding));
}

/** Client to server. */
export function uploadBytes({ update, encoding, controlVariateUpdate }: ClientUpdate): number {
  return encodedBytes(update.length, encoding) + (controlVariateUpdate?.byteLength ?? 0);
}

/** Client to server, as far as the task tells before it is done: a client may answer with less. */
export function expectedUploadBytes({ outer, answerSlice, encoding, serverControlVariate }: TrainTask, layout: AdapterLayout): number {
  const numTrained = outer === undefined ? layout.numParameters : innerLength(layout);
  const numWeights = answerSlice === undefined ? numTrained : sliceLength(layout, answerSlice);
  return encodedBytes(numWeights, encoding) + (serverControlVariate?.byteLength ?? 0);
}
