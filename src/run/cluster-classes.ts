/** The classes of `data split --by cluster`: what a model makes of the samples of some files. */
import { join } from "node:path";
import { clusterSamples } from "../analysis/clusters.js";
import type { ModelOptions } from "../analysis/model-findings.js";
import type { AnalysisProgress } from "../analysis/pass.js";
import { AnalysisStore } from "../analysis/store.js";
import { newTally, streamSamples } from "../data/import/sample-stream.js";
import type { SampleStreamOptions, StreamedSample } from "../data/import/sample-stream.js";
import type { Sample } from "../data/samples.js";
import { FedllmError } from "../errors.js";
import { makeFolder } from "../util/atomic-file.js";
import { openAnalysisModel } from "./analysis-model.js";

export interface ClusterClassOptions extends Omit<ModelOptions, "modelSamples"> {
  readonly files: SampleStreamOptions;
  /** GGUF file or built-in model. */
  readonly model: string;
  readonly numClusters: number;
  readonly device?: string | undefined;
  readonly numThreads: number;
  /** Folder whose analysis.sqlite keeps embeddings, so that a stopped or repeated call computes what is missing; absent: in memory. */
  readonly cache?: string;
  readonly onProgress?: (progress: AnalysisProgress) => void;
  readonly onBuild?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/**
 * Reads the files once and gives `classOf` for splitData. Memory: all samples and their embeddings. Rejects as streamSamples,
 * openAnalysisModel, clusterSamples and the constructor of AnalysisStore.
 */
export async function findClusterClasses(options: ClusterClassOptions): Promise<(streamed: StreamedSample) => string> {
  const { files, cache, numThreads, device, onBuild, onProgress, signal } = options;
  // Embeddings are of instructions alone, without a template around them.
  const opened = await openAnalysisModel({ model: options.model, template: "alpaca", numThreads, device, ...(onBuild === undefined ? {} : { onProgress: onBuild }) });
  try {
    const samples: Sample[] = [];
    for await (const batch of streamSamples(files, newTally())) {
      if (signal?.aborted === true) throw new FedllmError("CANCELLED", "the split was interrupted", { cause: signal.reason });
      for (const { sample } of batch) samples.push(sample);
    }
    if (cache !== undefined) await makeFolder(cache);
    const store = new AnalysisStore(cache === undefined ? ":memory:" : join(cache, "analysis.sqlite"));
    try {
      const clusterOf = await clusterSamples(samples, { ...options, model: opened.model }, { store, onProgress, signal });
      return ({ sample }) => `cluster ${String(clusterOf(sample) + 1)}`;
    } finally {
      store.close();
    }
  } finally {
    opened.dispose();
  }
}
