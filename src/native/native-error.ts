/**
 * Turns errors of the addon into FedllmError. The addon's errors carry one of our codes; anything else that comes out of
 * it (an exception of a progress callback, use after dispose) is passed on as it is.
 */
import { FedllmError } from "../errors.js";
import type { ErrorCode } from "../errors.js";

/** The codes that the native side uses. */
const NATIVE_CODES: ReadonlySet<string> = new Set<ErrorCode>([
  "CONFIG_INVALID",
  "DATASET_INVALID",
  "MODEL_LOAD_FAILED",
  "MODEL_UNSUPPORTED",
  "ADAPTER_INVALID",
  "TRAIN_DIVERGED",
  "TRAIN_FAILED",
  "NATIVE_MISMATCH",
  "OUT_OF_MEMORY",
  "IO_FAILED",
  "CANCELLED",
]);

/** The error to throw instead of `error`: a FedllmError with the same code and message, or `error` itself. */
export function convertNativeError(error: unknown): unknown {
  if (!(error instanceof Error) || error instanceof FedllmError || !("code" in error)) return error;
  const { code } = error;
  if (typeof code !== "string" || !isNativeCode(code)) return error;
  return new FedllmError(code, error.message, { cause: error });
}

/** Runs a call of the addon and converts what it throws. */
export function callNative<T>(call: () => T): T {
  try {
    return call();
  } catch (error) {
    throw convertNativeError(error);
  }
}

/** Runs an asynchronous call of the addon and converts what it throws or rejects with. */
export async function awaitNative<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    throw convertNativeError(error);
  }
}

function isNativeCode(code: string): code is ErrorCode {
  return NATIVE_CODES.has(code);
}
