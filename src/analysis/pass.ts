/**
 * One analysis of many samples: what is already known of a sample's text is taken from the store, the rest is computed batch by
 * batch and kept at once, so that an interrupted analysis goes on where it was.
 */
import { FedllmError } from "../errors.js";
import type { AnalyzedSample } from "./samples.js";
import type { AnalysisStore, Finding } from "./store.js";

/** How far an analysis is. */
export interface AnalysisProgress {
  /** What is computed, for people. */
  readonly step: string;
  readonly numDone: number;
  readonly numTotal: number;
  /** Of those done, samples whose finding was in the store. */
  readonly numKnown: number;
}

export interface PassContext {
  readonly store: AnalysisStore;
  readonly onProgress?: ((progress: AnalysisProgress) => void) | undefined;
  /** Aborting ends the pass within one batch; what was computed is kept. */
  readonly signal?: AbortSignal | undefined;
}

export interface Pass<T> {
  readonly step: string;
  /** Names what is computed with everything it depends on beside the text: a changed name computes anew. */
  readonly analysis: string;
  /** Samples of a batch. */
  readonly batchSize: number;
  /** Findings in the order of the samples. */
  compute(samples: readonly AnalyzedSample[], signal: AbortSignal | undefined): readonly T[] | Promise<readonly T[]>;
  encode(found: T): Finding;
  decode(value: Finding): T;
}

/** Findings in the order of the samples. Samples with the same text are computed once. Rejects with CANCELLED after an abort. */
export async function runPass<T>(samples: readonly AnalyzedSample[], pass: Pass<T>, { store, onProgress, signal }: PassContext): Promise<T[]> {
  const known = store.findings(pass.analysis);
  const found = new Map<string, T>();
  const missing = new Map<string, AnalyzedSample>();
  for (const sample of samples) {
    const value = known.get(sample.hash);
    if (value === undefined) missing.set(sample.hash, sample);
    else if (!found.has(sample.hash)) found.set(sample.hash, pass.decode(value));
  }
  const numKnown = found.size;
  const report = () => onProgress?.({ step: pass.step, numDone: found.size, numTotal: numKnown + missing.size, numKnown });
  const queue = [...missing.values()];
  report();
  for (let start = 0; start < queue.length; start += pass.batchSize) {
    if (signal?.aborted === true) throw new FedllmError("CANCELLED", "the analysis was interrupted", { cause: signal.reason });
    const batch = queue.slice(start, start + pass.batchSize);
    const results = await pass.compute(batch, signal);
    const rows = batch.map(({ hash }, index) => [hash, results[index] as T] as const);
    store.keep(pass.analysis, rows.map(([hash, result]) => [hash, pass.encode(result)] as const));
    for (const [hash, result] of rows) found.set(hash, result);
    report();
    // Lets signals and timers in between batches that compute without waiting.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return samples.map(({ hash }) => found.get(hash) as T);
}

/** For findings that are plain values. */
export function asJson<T>(): Pick<Pass<T>, "encode" | "decode"> {
  return { encode: (found) => JSON.stringify(found), decode: (value) => JSON.parse(value as string) as T };
}
