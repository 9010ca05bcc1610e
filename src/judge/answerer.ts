/** What answers a judge's requests: an endpoint (remote.ts) or a model file (local.ts). Cache, bounds and counts are judge.ts. */
import type { JudgeRequest } from "../benchmarks/metric.js";

/** A request that may also name the words one of which stands in double square brackets at the end. */
export interface AskRequest extends JudgeRequest {
  /** In place of ratings, for example A, B and C. A local judge is held to them. */
  readonly choices?: readonly string[];
}

export interface Answer {
  readonly text: string;
  /** Absent: the endpoint did not say. */
  readonly usage?: { readonly numPromptTokens: number; readonly numCompletionTokens: number };
}

export interface Answerer {
  /** Model name as recorded beside each score. */
  readonly name: string;
  /** Everything that an answer depends on beside the request; JSON. Holds no secret. */
  readonly identity: Readonly<Record<string, unknown>>;
  /** Rejects with JUDGE_FAILED, or CANCELLED after an abort. */
  answer(request: AskRequest, signal?: AbortSignal): Promise<Answer>;
  dispose(): Promise<void>;
}
