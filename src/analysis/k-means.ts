/**
 * Clusters of vectors by k-means: centres drawn as in k-means++ (Arthur and Vassilvitskii 2007, "The Advantages of Careful Seeding"), then
 * Lloyd's rounds until no vector changes its cluster. The best of a few starts is taken; the same seed gives the same clusters.
 */
import { PythonRandom } from "../data/python-random.js";
import { assert } from "../util/assert.js";
import { deriveSeed } from "../util/random.js";

export interface Clusters {
  /** Cluster of each vector; clusters are numbered in the order in which their first vectors come. */
  readonly labels: Uint32Array;
  /** At most as many as were asked for: fewer where fewer vectors differ. */
  readonly numClusters: number;
  /** Sum of the squared distances of all vectors from the means of their clusters. */
  readonly inertia: number;
}

type Vector = ArrayLike<number>;

const NUM_STARTS = 8;
/** Rounds nearly always end by themselves much earlier. */
const MAX_ROUNDS = 300;

/** Clusters vectors of one length, at least one of them; 0 is a seed. */
export function kMeans(vectors: readonly Vector[], numClusters: number, seed: number): Clusters {
  assert(vectors.length > 0 && Number.isSafeInteger(numClusters) && numClusters > 0, "k-means takes a vector and a cluster at least");
  const starts = Array.from({ length: NUM_STARTS }, (_, start) => {
    const centres = drawCentres(vectors, numClusters, new PythonRandom(deriveSeed(seed, "k-means", start)));
    return moveCentres(vectors, centres);
  });
  return starts.reduce((best, each) => (each.inertia < best.inertia ? each : best));
}

/** Each further centre is a vector drawn with a weight of its squared distance from the nearest one so far. */
function drawCentres(vectors: readonly Vector[], numClusters: number, random: PythonRandom): Float64Array[] {
  const centres: Float64Array[] = [];
  const weights = new Float64Array(vectors.length).fill(1);
  while (centres.length < numClusters) {
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    // Every vector is a centre already.
    if (total === 0) break;
    const centre = Float64Array.from(vectors[drawIndex(weights, random.random() * total)] ?? []);
    const isFirst = centres.push(centre) === 1;
    for (const [index, vector] of vectors.entries()) {
      const distance = squaredDistance(vector, centre);
      weights[index] = isFirst ? distance : Math.min(weights[index] ?? 0, distance);
    }
  }
  return centres;
}

/** Where the running sum of the weights passes the mark; never a weight of 0. */
function drawIndex(weights: Float64Array, mark: number): number {
  let reached = 0;
  let last = 0;
  for (const [index, weight] of weights.entries()) {
    if (weight === 0) continue;
    last = index;
    reached += weight;
    if (reached > mark) break;
  }
  return last;
}

function moveCentres(vectors: readonly Vector[], centres: readonly Float64Array[]): Clusters {
  const labels = new Uint32Array(vectors.length);
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const hasChanged = assignNearest(vectors, centres, labels);
    if (!hasChanged && round > 0) break;
    setToMeans(vectors, labels, centres);
  }
  const inertia = vectors.reduce((sum, vector, index) => sum + squaredDistance(vector, centreOf(centres, labels[index])), 0);
  return { ...renumber(labels), inertia };
}

/** Gives each vector to its nearest centre, of equals to the first; true if any changed. */
function assignNearest(vectors: readonly Vector[], centres: readonly Float64Array[], labels: Uint32Array): boolean {
  let hasChanged = false;
  for (const [index, vector] of vectors.entries()) {
    let nearest = 0;
    let least = Infinity;
    for (const [label, centre] of centres.entries()) {
      const distance = squaredDistance(vector, centre);
      if (distance < least) [nearest, least] = [label, distance];
    }
    hasChanged ||= labels[index] !== nearest;
    labels[index] = nearest;
  }
  return hasChanged;
}

/** A centre that lost all its vectors stays where it is. */
function setToMeans(vectors: readonly Vector[], labels: Uint32Array, centres: readonly Float64Array[]): void {
  const counts = new Uint32Array(centres.length);
  for (const label of labels) counts[label] = (counts[label] ?? 0) + 1;
  for (const [label, centre] of centres.entries()) if ((counts[label] ?? 0) > 0) centre.fill(0);
  for (const [index, vector] of vectors.entries()) {
    const label = labels[index] ?? 0;
    const centre = centreOf(centres, label);
    for (let i = 0; i < centre.length; i++) centre[i] = (centre[i] ?? 0) + (vector[i] ?? 0) / (counts[label] ?? 1);
  }
}

function centreOf(centres: readonly Float64Array[], label = 0): Float64Array {
  const centre = centres[label];
  assert(centre !== undefined, "a label is that of a centre");
  return centre;
}

function renumber(labels: Uint32Array): Pick<Clusters, "labels" | "numClusters"> {
  const numbers = new Map<number, number>();
  for (const label of labels) if (!numbers.has(label)) numbers.set(label, numbers.size);
  return { labels: labels.map((label) => numbers.get(label) ?? 0), numClusters: numbers.size };
}

function squaredDistance(left: Vector, right: Vector): number {
  let sum = 0;
  for (let i = 0; i < left.length; i++) sum += ((left[i] ?? 0) - (right[i] ?? 0)) ** 2;
  return sum;
}
