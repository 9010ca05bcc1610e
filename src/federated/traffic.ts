/**
 * Bytes that cross between server and client in a round: of the messages that were really made (src/wire), header and all; without a format of the
 * numbers that are handed over, four bytes each. What goes with tasks and answers beside them (ids, counts, rates: some dozen bytes) is not counted.
 */
import { innerLength } from "../adapter/inner.js";
import type { AdapterLayout } from "../adapter/layout.js";
import { sliceLength } from "../adapter/slice.js";
import { messageBytesBound } from "../wire/message.js";
import type { ClientUpdate, TrainTask } from "./protocol.js";

/** Server to client. What a client has already (`known`, the anchor it starts from) is not sent. */
export function downloadBytes(task: TrainTask): number {
  return (task.message ?? task.weights).byteLength + otherBytes(task);
}

/** As far as the format tells before a message is made: the most that it can be. */
export function expectedDownloadBytes(task: TrainTask, layout: AdapterLayout): number {
  const { downlink: format, slice, outer } = task;
  if (format === undefined) return downloadBytes(task);
  return messageBytesBound({ layout, format, ...(slice === undefined ? {} : { slice }), ...(outer === undefined ? {} : { isInner: true }) }) + otherBytes(task);
}

/** Client to server. */
export function uploadBytes({ update, message, controlVariateUpdate }: ClientUpdate): number {
  return (message ?? update).byteLength + (controlVariateUpdate?.byteLength ?? 0);
}

/** Client to server, as far as the task tells before it is done: a client may answer with less. */
export function expectedUploadBytes({ outer, answerSlice: slice, uplink: format, serverControlVariate }: TrainTask, layout: AdapterLayout): number {
  const others = serverControlVariate?.byteLength ?? 0;
  if (format !== undefined) {
    return messageBytesBound({ layout, format, ...(slice === undefined ? {} : { slice }), ...(outer === undefined ? {} : { isInner: true }) }) + others;
  }
  const numTrained = outer === undefined ? layout.numParameters : innerLength(layout);
  return 4 * (slice === undefined ? numTrained : sliceLength(layout, slice)) + others;
}

function otherBytes({ sentOuter, sentFrozen, serverControlVariate }: TrainTask): number {
  return [sentOuter, sentFrozen, serverControlVariate].reduce((sum, vector) => sum + (vector?.byteLength ?? 0), 0);
}
