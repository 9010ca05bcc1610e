/** Errors in the form that clients of OpenAI's interface know: a status, and `error` with message, type, param and code. */
import { FedllmError } from "../errors.js";
import type { ErrorCode } from "../errors.js";

export interface ApiErrorBody {
  readonly error: { readonly message: string; readonly type: string; readonly param: string | null; readonly code: string | null };
}

export interface ApiErrorFacts {
  /** Field of the request that is wrong. */
  readonly param?: string;
  readonly code?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export class ApiError extends Error {
  readonly status: number;
  readonly facts: ApiErrorFacts;

  constructor(status: number, message: string, facts: ApiErrorFacts = {}) {
    super(message);
    this.status = status;
    this.facts = facts;
  }

  get body(): ApiErrorBody {
    const { param = null, code = null } = this.facts;
    return { error: { message: this.message, type: typeOf(this.status), param, code } };
  }
}

function typeOf(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

/** 400 about one field. */
export function badRequest(param: string, message: string, code?: string): ApiError {
  return new ApiError(400, message, { param, ...(code === undefined ? {} : { code }) });
}

/** Errors of ours that are the request's fault. */
const REQUEST_CODES: ReadonlySet<ErrorCode> = new Set(["CONFIG_INVALID", "DATASET_INVALID"]);

/** What any failure of a request is to its client; what is no error of ours is not described to anybody outside. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (!(error instanceof FedllmError)) return new ApiError(500, "an internal error of the server");
  if (REQUEST_CODES.has(error.code)) return new ApiError(400, error.message);
  if (error.code === "CANCELLED") return new ApiError(503, "the server is stopping", { code: "stopping" });
  if (error.code === "OUT_OF_MEMORY") return new ApiError(503, error.message, { code: "out_of_memory" });
  return new ApiError(500, error.message, { code: error.code.toLowerCase() });
}
