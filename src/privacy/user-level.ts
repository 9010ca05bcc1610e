/**
 * Differential privacy of whole users (McMahan et al. 2018, "Learning Differentially Private Recurrent Language Models"): in each round
 * every client takes part with probability q, on its own; its whole update is shortened to the clipping norm C; to the sum is added
 * Gaussian noise of standard deviation z C; and the noisy sum is divided by a number that does not depend on who came, the expected
 * cohort, or with weights the expected weight. An empty cohort gives noise like any other. All of it happens in integers (grid.ts).
 *
 * With adaptive clipping (Andrew et al. 2021, "Differentially Private Learning with Adaptive Clipping") the release also holds the noisy
 * fraction b of clients whose update was within C, and C becomes C exp(-rate (b - quantile)): it falls when more than the wanted
 * part is within. The bits, centred to +-1/2, have noise sigma_b, and the sum's multiplier is raised to (z^-2 - (2 sigma_b)^-2)^(-1/2), so that
 * both together cost what one release with multiplier z costs.
 *
 * One secret of the run decides who takes part and the noise; the noise also depends on the exact sum. So a round that is computed
 * again gives the same result, which is one release, and another sum of the same round gets noise of its own and is charged again.
 */
import { createHmac } from "node:crypto";
import type { Sampling } from "./accounting/accountant.js";
import type { Release } from "./budget.js";
import { discreteSigma, drawDiscreteGaussian } from "./discrete-gaussian.js";
import { MAX_TERMS, NORM_UNITS, toGrid } from "./grid.js";
import { RandomStream } from "./random-stream.js";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";

export interface AdaptiveClipping {
  /** Part of the updates that should be within the clipping norm. */
  readonly targetQuantile: number;
  readonly learningRate: number;
  /** Standard deviation of the noise on the number of updates within the norm. */
  readonly countNoise: number;
}

export interface UserLevelOptions {
  /** poisson: each client on its own; fixedSize: `cohortSize` of them, which is counted for replacing one client by another. */
  readonly sampling: Sampling;
  /** Expected clients of a round; above 0 and at most all of them. */
  readonly cohortSize: number;
  /** z: noise over the clipping norm; 0 adds none and protects nobody. */
  readonly noiseMultiplier: number;
  /** C of the first round. */
  readonly clipNorm: number;
  readonly adaptive?: AdaptiveClipping;
  /** Clients count by min(numExamples / exampleCap, 1); absent: all alike. */
  readonly exampleCap?: number;
}

/** What is known of all clients, and taken to be public. */
export interface Population {
  readonly numClients: number;
  /** Sum of all clients' min(numExamples / exampleCap, 1); their number where all count alike. */
  readonly totalWeight: number;
}

/** Where a release is written before anybody sees it. */
export interface ReleaseSink {
  /** True when the round's release with this digest is there already, or can be paid for. */
  isAffordable(release: Release): boolean;
  /** Durable when it returns; writes nothing for a digest that the round has already. Throws PRIVACY_SPENT for one that overspends. */
  charge(release: Release, digest: string, clipNorm: number): void;
  /** Epsilon of all releases so far; Infinity without noise. */
  epsilonSpent(): number;
}

/** What a round gives. */
export interface NoisyMean {
  readonly mean: Float64Array;
  /** The clipping norm of the next round. */
  readonly nextClipNorm: number;
}

/** The multiplier of the sum's noise beside the noisy count. Throws CONFIG_INVALID when the count alone costs as much as everything may. */
export function multiplierBesideCount(noiseMultiplier: number, countNoise: number): number {
  if (noiseMultiplier < 2 * countNoise) return 1 / Math.sqrt(noiseMultiplier ** -2 - (2 * countNoise) ** -2);
  throw problemError("CONFIG_INVALID", {
    subject: "privacy.adaptiveClipping.countNoise",
    expected: `more than half of the noise multiplier ${String(noiseMultiplier)}, so that something is left for the sum`,
    received: String(countNoise),
    remedy: "Raise countNoise or clientsPerRound, on which its default depends",
  });
}

/** The mechanism of one arm. */
export class UserLevelPrivacy {
  readonly options: UserLevelOptions;
  readonly #population: Population;
  readonly #secret: Uint8Array;
  readonly #sink: ReleaseSink;

  constructor(options: UserLevelOptions, population: Population, secret: Uint8Array, sink: ReleaseSink) {
    this.options = options;
    this.#population = population;
    this.#secret = secret;
    this.#sink = sink;
  }

  /** Probability with which each client takes part in a round. */
  get sampleRate(): number {
    return Math.min(1, this.options.cohortSize / this.#population.numClients);
  }

  epsilonSpent(): number {
    return this.#sink.epsilonSpent();
  }

  /** Whether a round can be paid for; one that was released before can be computed again. */
  canRelease(round: number): boolean {
    return this.#sink.isAffordable(this.#releaseOf(round));
  }

  /** Positions of those of `numClients` clients that take part in a round, ascending; may be none. */
  drawCohort(round: number, numClients: number): readonly number[] {
    const stream = new RandomStream(this.#secret, `cohort of round ${String(round)}`);
    const everybody = Array.from({ length: numClients }, (_, index) => index);
    if (this.options.sampling === "poisson") return everybody.filter(() => this.sampleRate === 1 || stream.chance(this.sampleRate));
    const size = Math.min(numClients, this.options.cohortSize);
    for (let i = 0; i < size; i++) {
      const other = i + stream.below(numClients - i);
      [everybody[i], everybody[other]] = [everybody[other] ?? 0, everybody[i] ?? 0];
    }
    return everybody.slice(0, size).sort((left, right) => left - right);
  }

  /** A round's sum of vectors of this length, with its clipping norm. */
  startRound(round: number, clipNorm: number, length: number): PrivateRound {
    return new PrivateRound({ ...this.options, round, clipNorm, length, secret: this.#secret, expectedWeight: this.sampleRate * this.#population.totalWeight }, (digest) => {
      this.#sink.charge(this.#releaseOf(round), digest, clipNorm);
    });
  }

  #releaseOf(round: number): Release {
    const { sampling, noiseMultiplier } = this.options;
    // One client replaced by another moves the sum by up to twice the clipping norm.
    return { round, sampling, sampleRate: this.sampleRate, noiseMultiplier: sampling === "poisson" ? noiseMultiplier : noiseMultiplier / 2 };
  }
}

interface RoundOptions extends UserLevelOptions {
  readonly round: number;
  readonly length: number;
  readonly secret: Uint8Array;
  readonly expectedWeight: number;
}

/** Units of a bit that is +1 or -1, so that its noise can be any number. */
const BIT_UNITS = 2 ** 20;

/** A sum in the making. It holds one vector, however large the cohort. */
export class PrivateRound {
  readonly #options: RoundOptions;
  readonly #charge: (digest: string) => void;
  readonly #sum: Float64Array;
  /** Clients within the clipping norm less those above it. */
  #balance = 0;
  #numTerms = 0;

  constructor(options: RoundOptions, charge: (digest: string) => void) {
    this.#options = options;
    this.#charge = charge;
    this.#sum = new Float64Array(options.length);
  }

  /** Adds a client's whole update, shortened and weighted; each client at most once. */
  add(update: Float32Array, numExamples: number): void {
    const { clipNorm, exampleCap, length } = this.#options;
    assert(update.length === length && this.#numTerms < MAX_TERMS, "updates have one length, and their sum is exact");
    const weight = exampleCap === undefined ? 1 : Math.min(1, numExamples / exampleCap);
    const { units, isClipped } = toGrid(update, clipNorm, weight);
    for (let i = 0; i < length; i++) this.#sum[i] = (this.#sum[i] ?? 0) + (units[i] ?? 0);
    this.#balance += isClipped ? -1 : 1;
    this.#numTerms += 1;
  }

  /** Charges the release, then makes it. Throws PRIVACY_SPENT instead of releasing what cannot be paid for. */
  finish(): NoisyMean {
    const { secret, round, clipNorm, noiseMultiplier, adaptive, expectedWeight } = this.#options;
    const digest = this.#digest();
    this.#charge(digest);
    const stream = new RandomStream(secret, `noise of round ${String(round)} ${digest}`);
    const multiplier = adaptive === undefined || noiseMultiplier === 0 ? noiseMultiplier : multiplierBesideCount(noiseMultiplier, adaptive.countNoise);
    const sigma = multiplier === 0 ? 0 : discreteSigma(multiplier, NORM_UNITS);
    const unit = clipNorm / NORM_UNITS / expectedWeight;
    const mean = this.#sum.map((value) => (value + (sigma === 0 ? 0 : drawDiscreteGaussian(sigma, stream))) * unit);
    return { mean, nextClipNorm: adaptive === undefined ? clipNorm : this.#adapt(adaptive, stream) };
  }

  #adapt({ targetQuantile, learningRate, countNoise }: AdaptiveClipping, stream: RandomStream): number {
    const { clipNorm, cohortSize, noiseMultiplier } = this.#options;
    const noise = noiseMultiplier === 0 ? 0 : drawDiscreteGaussian(discreteSigma(2 * countNoise, BIT_UNITS), stream) / BIT_UNITS;
    const fraction = (this.#balance + noise) / 2 / cohortSize + 0.5;
    return clipNorm * Math.exp(-learningRate * (fraction - targetQuantile));
  }

  /** Of everything that is not noise; keyed, so that whoever reads the ledger cannot try sums. */
  #digest(): string {
    const { secret, round, clipNorm, noiseMultiplier, expectedWeight, sampling } = this.#options;
    const hash = createHmac("sha256", secret).update(JSON.stringify({ round, clipNorm, noiseMultiplier, expectedWeight, sampling, balance: this.#balance }));
    return hash.update(new Uint8Array(this.#sum.buffer)).digest("hex");
  }
}
