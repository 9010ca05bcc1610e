/** Embeddings as points of a plane, by principal components and by UMAP (McInnes et al. 2018). */
import { createHash } from "node:crypto";
import { UMAP } from "umap-js";
import { PythonRandom } from "../data/python-random.js";
import { FedllmError } from "../errors.js";
import type { PassContext } from "./pass.js";
import { principalComponents } from "./principal-components.js";
import type { Point } from "./principal-components.js";

/** The points of embeddings, in their order. */
export interface ProjectedEmbeddings {
  readonly pca: readonly Point[];
  /** Part of the variance along each axis. */
  readonly explained: Point;
  /** Absent for fewer than UMAP_POINTS_MIN distinct texts. */
  readonly umap?: readonly Point[];
}

/** Neighbours that UMAP looks at, as in its paper's examples. */
const NEIGHBOURS = 15;
export const UMAP_POINTS_MIN = 5;

export interface EmbeddingsToProject {
  readonly hashes: readonly string[];
  readonly vectors: readonly Float32Array[];
  /** Names how the vectors were made. */
  readonly analysis: string;
  readonly seed: number;
}

/** Projects; the points of UMAP are kept for this very list of texts. Rejects with CANCELLED after an abort. */
export async function projectEmbeddings({ hashes, vectors, analysis, seed }: EmbeddingsToProject, context: PassContext): Promise<ProjectedEmbeddings> {
  const { points: pca, explained } = principalComponents(vectors, seed);
  // Equal texts have equal embeddings, which would only be pushed apart.
  const distinct = new Map(hashes.map((hash, index) => [hash, vectors[index] ?? new Float32Array(0)]));
  if (distinct.size < UMAP_POINTS_MIN) return { pca, explained };
  const listHash = createHash("sha256").update([...distinct.keys()].join()).digest("hex");
  const name = `umap/1/${String(seed)}/${listHash}/${analysis}`;
  const kept = context.store.findings(name);
  if (kept.size !== distinct.size) {
    const points = await runUmap([...distinct.values()], seed, context);
    context.store.keep(name, [...distinct.keys()].map((hash, index) => [hash, JSON.stringify(points[index])] as const));
  }
  const found = context.store.findings(name);
  return { pca, explained, umap: hashes.map((hash) => JSON.parse(found.get(hash) as string) as Point) };
}

async function runUmap(vectors: readonly Float32Array[], seed: number, { onProgress, signal }: PassContext): Promise<number[][]> {
  const random = new PythonRandom(seed);
  const umap = new UMAP({ nComponents: 2, nNeighbors: Math.min(NEIGHBOURS, vectors.length - 1), random: () => random.random() });
  const numTotal = umap.initializeFit(vectors.map((vector) => [...vector]));
  for (let epoch = 0; epoch < numTotal; epoch++) {
    if (signal?.aborted === true) throw new FedllmError("CANCELLED", "the analysis was interrupted", { cause: signal.reason });
    umap.step();
    onProgress?.({ step: "UMAP", numDone: epoch + 1, numTotal, numKnown: 0 });
    if (epoch % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  return umap.getEmbedding();
}
