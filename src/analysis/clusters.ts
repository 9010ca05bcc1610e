/** Clusters of samples by what they ask for: k-means over the embeddings of their instructions (embeddings.ts). */
import type { Sample } from "../data/samples.js";
import { problemError } from "../errors.js";
import { embeddingPass, meanVector } from "./embeddings.js";
import { kMeans } from "./k-means.js";
import { checkModelOptions } from "./model-findings.js";
import type { AnalysisModel, ModelOptions } from "./model-findings.js";
import { runPass } from "./pass.js";
import type { PassContext } from "./pass.js";
import { hashSample } from "./samples.js";

export interface ClusterOptions extends Omit<ModelOptions, "modelSamples"> {
  readonly model: AnalysisModel;
  readonly numClusters: number;
}

/**
 * Tells the cluster of each of these samples, from 0; samples with the same text are one vector. Embeddings are compared by their
 * directions from the mean of all, since a model's have most of their length in common. Rejects with CONFIG_INVALID for options that cannot
 * be and for fewer different embeddings than clusters, with CANCELLED and what the model rejects with.
 */
export async function clusterSamples(samples: readonly Sample[], options: ClusterOptions, context: PassContext): Promise<(sample: Sample) => number> {
  const { model, numClusters } = options;
  const { inference } = model;
  const refuse = (subject: string, expected: string, received: string) => problemError("CONFIG_INVALID", { subject, expected, received });
  if (inference === undefined) throw refuse("model", "one that computes hidden states", model.name);
  if (!Number.isSafeInteger(numClusters) || numClusters < 2) throw refuse("clusters", "an integer of at least 2", String(numClusters));
  const { boundary, maxLength, seed } = checkModelOptions(inference, options);
  const distinct = [...new Map(samples.map((sample) => [hashSample(sample), sample]))];
  const pass = embeddingPass({ ...inference, tokenizer: model.tokenizer, modelSha256: model.sha256, boundary, maxLength });
  const listed = distinct.map(([hash, sample], sampleIndex) => ({ clientIndex: 0, sampleIndex, sample, hash }));
  const vectors = await runPass(listed, pass, context);
  if (vectors.length === 0) throw refuse("samples", "at least one", "none");
  const found = kMeans(directionsFromMean(vectors), numClusters, seed);
  if (found.numClusters < numClusters) throw refuse("clusters", "no more than there are different instructions", `${String(numClusters)} for ${String(found.numClusters)}`);
  const labels = new Map(distinct.map(([hash], index) => [hash, found.labels[index] ?? 0]));
  return (sample) => {
    const label = labels.get(hashSample(sample));
    if (label === undefined) throw new RangeError("a sample that was not among those clustered");
    return label;
  };
}

/** Vectors of length 1, or of 0 where a vector is the mean. */
function directionsFromMean(vectors: readonly Float32Array[]): Float64Array[] {
  const mean = meanVector(vectors);
  return vectors.map((vector) => {
    const centred = mean.map((value, index) => (vector[index] ?? 0) - value);
    const length = Math.hypot(...centred);
    return length === 0 ? centred : centred.map((value) => value / length);
  });
}
