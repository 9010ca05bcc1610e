/**
 * Every operating error of the program, each with a stable code that scripts may test.
 * A message says what was expected, what came, which field, file or client it concerns and what to do.
 * Programmer errors are not here: they are asserted (util/assert.ts) and never caught.
 */

/** Stable error codes; a code never changes its meaning between releases. */
export type ErrorCode =
  | "CONFIG_INVALID"
  | "DATASET_INVALID"
  | "MODEL_LOAD_FAILED"
  | "MODEL_UNSUPPORTED"
  | "ADAPTER_INVALID"
  | "TRAIN_DIVERGED"
  | "TRAIN_FAILED"
  | "UPDATE_REJECTED"
  | "MESSAGE_INVALID"
  | "MESSAGE_CORRUPT"
  | "MESSAGE_MISMATCH"
  | "MESSAGE_REFUSED"
  | "COHORT_TOO_SMALL"
  | "CLIENT_UNAVAILABLE"
  | "CLIENT_TIMEOUT"
  | "CLIENT_LATE"
  | "CHECKPOINT_CORRUPT"
  | "RUN_NOT_FOUND"
  | "RUN_LOCKED"
  | "RUN_EXISTS"
  | "NOT_REPRODUCED"
  | "METRICS_INVALID"
  | "NATIVE_UNAVAILABLE"
  | "NATIVE_MISMATCH"
  | "OUT_OF_MEMORY"
  | "IO_FAILED"
  | "DOWNLOAD_FAILED"
  | "JUDGE_FAILED"
  | "CODE_EXECUTION_REFUSED"
  | "SANDBOX_UNAVAILABLE"
  | "PRIVACY_SPENT"
  | "PRIVACY_VIOLATED"
  | "PROTOCOL_VIOLATED"
  | "WORKER_LOST"
  | "WORKER_REFUSED"
  | "ARTIFACT_INVALID"
  | "CANCELLED";

/** The one class of operating errors; `code` tells them apart, `cause` keeps the lower error. */
export class FedllmError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "FedllmError";
    this.code = code;
  }
}

/** What a parameter message is made of; see {@link describeProblem}. */
export interface Problem {
  /** The field, file or client concerned, for example `lora.rank` or `client "u17"`. */
  readonly subject: string;
  readonly expected: string;
  readonly received: string;
  /** What the user can do, if that is known. */
  readonly remedy?: string;
}

/** Builds the one form of all parameter messages: subject: expected …, received …. Remedy. */
export function describeProblem(problem: Problem): string {
  const base = `${problem.subject}: expected ${problem.expected}, received ${problem.received}`;
  return problem.remedy === undefined ? base : `${base}. ${problem.remedy}`;
}

/** Makes a {@link FedllmError} from a described problem. */
export function problemError(code: ErrorCode, problem: Problem, cause?: unknown): FedllmError {
  return new FedllmError(code, describeProblem(problem), cause === undefined ? undefined : { cause });
}

/** True for a {@link FedllmError}, with the given code if one is named. */
export function isFedllmError(error: unknown, code?: ErrorCode): error is FedllmError {
  return error instanceof FedllmError && (code === undefined || error.code === code);
}

/** The code of any thrown value, for rows and events; an unknown error counts as a failed training. */
export function errorCodeOf(error: unknown): ErrorCode {
  return error instanceof FedllmError ? error.code : "TRAIN_FAILED";
}
