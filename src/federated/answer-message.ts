/** A client's answer as a message: made at the client, with what earlier messages left out, and opened by the server, which believes nothing else of it. */
import type { AdapterLayout } from "../adapter/layout.js";
import type { AdapterSlice } from "../adapter/slice.js";
import { isFedllmError, problemError } from "../errors.js";
import { decodeMessage, encodeMessage, type MessageContext } from "../wire/message.js";
import type { UplinkFormat } from "../wire/formats.js";
import { nextResiduals, withResidual, type Residuals } from "./feedback.js";
import type { ClientFailure, ClientUpdate, TrainTask } from "./protocol.js";
import { checkUpdate } from "./update-check.js";

/** What both sides know of the adapter. */
export interface AnswerLayout {
  readonly layout: AdapterLayout;
  readonly layoutFingerprint: string;
}

/** The message of a change, what the server will read in it, and what the client keeps of it. Throws MESSAGE_REFUSED for numbers that are not finite. */
export function encodeAnswer(
  change: Float32Array,
  slice: AdapterSlice | undefined,
  task: TrainTask,
  format: UplinkFormat,
  { residuals, ...layout }: AnswerLayout & { readonly residuals: Residuals },
): { readonly message: Uint8Array; readonly update: Float32Array; readonly residuals: Residuals } {
  const context = contextOf(task, format, layout, slice);
  const half = task.outer === undefined ? (slice?.half ?? "both") : "inner";
  const corrected = format.errorFeedback ? withResidual(change, residuals, half) : change;
  const message = encodeMessage(corrected, context);
  const { values: update } = decodeMessage(message, context, Number.POSITIVE_INFINITY);
  return { message, update, residuals: format.errorFeedback ? nextResiduals(residuals, half, corrected, update) : residuals };
}

/** The answer with other numbers in it, as if the client had sent these: in a message where it has one, without feedback. Throws as encodeAnswer. */
export function replaceAnswer(answer: ClientUpdate, change: Float32Array, task: TrainTask, layout: AnswerLayout): ClientUpdate {
  if (task.uplink === undefined) return { ...answer, update: change };
  const { message, update } = encodeAnswer(change, answer.slice, task, { ...task.uplink, errorFeedback: false }, { ...layout, residuals: {} });
  return { ...answer, message, update };
}

/** What an answer comes to. */
export type Opened =
  | { readonly kind: "update"; readonly update: ClientUpdate }
  | { readonly kind: "failure"; readonly failure: ClientFailure };

/** The update with what its message says, checked; of a task without a format the vector as it is. A refusal is UPDATE_REJECTED and says why. */
export function openAnswer(answer: ClientUpdate, task: TrainTask, layout: AnswerLayout): Opened {
  const { clientId, round } = task;
  try {
    const update = decodeAnswer(answer, task, layout);
    const failure = checkUpdate(update, task, layout);
    return failure === undefined ? { kind: "update", update } : { kind: "failure", failure };
  } catch (error) {
    if (!isFedllmError(error)) throw error;
    const message = `update of client ${JSON.stringify(clientId)}: ${error.code}: ${error.message}`;
    return { kind: "failure", failure: { clientId, round, code: "UPDATE_REJECTED", message } };
  }
}

function decodeAnswer({ message, ...answer }: ClientUpdate, task: TrainTask, layout: AnswerLayout): ClientUpdate {
  const { uplink, answerSlice } = task;
  if ((uplink === undefined) !== (message === undefined)) {
    const [expected, received] = uplink === undefined ? ["the update itself", "a message"] : ["a message", "none"];
    throw problemError("MESSAGE_MISMATCH", { subject: "answer", expected, received });
  }
  if (uplink === undefined || message === undefined) return answer;
  const { values, slice } = decodeMessage(message, contextOf(task, uplink, layout, answerSlice), uplink.maxNorm);
  const { slice: _said, ...rest } = answer;
  return { ...rest, update: values, ...(slice === undefined ? {} : { slice }) };
}

function contextOf(task: TrainTask, format: UplinkFormat, layout: AnswerLayout, slice: AdapterSlice | undefined): MessageContext {
  return { kind: "update", round: task.round, ...layout, format, ...(slice === undefined ? {} : { slice }), ...(task.outer === undefined ? {} : { isInner: true }) };
}
