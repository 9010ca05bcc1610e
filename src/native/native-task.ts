/** How a running native task follows an abort signal. */
import { FedllmError, isFedllmError } from "../errors.js";
import type { NativeTask } from "./binding.js";
import { convertNativeError } from "./native-error.js";

/** Waits for a task while an abort signal may cancel it. */
export async function settleTask<T>(task: NativeTask<T>, signal: AbortSignal | undefined, subject: string): Promise<T> {
  const cancel = (): void => {
    task.cancel();
  };
  signal?.addEventListener("abort", cancel, { once: true });
  try {
    return await task.promise;
  } catch (error) {
    const converted = convertNativeError(error);
    throw isFedllmError(converted, "CANCELLED") && signal?.aborted === true
      ? cancelledError(subject, signal)
      : converted;
  } finally {
    signal?.removeEventListener("abort", cancel);
  }
}

/** Throws CANCELLED before work begins that an abort has made useless. */
export function throwIfAborted(signal: AbortSignal | undefined, subject: string): void {
  if (signal?.aborted === true) throw cancelledError(subject, signal);
}

function cancelledError(subject: string, signal: AbortSignal): FedllmError {
  return new FedllmError("CANCELLED", `${subject} was cancelled`, { cause: signal.reason });
}
