/**
 * The machines that clients stand for. This program computes for all of them; their speeds and links exist on a simulated
 * clock only, which depends on the seed and on counts of tokens and bytes, never on how fast this machine happens to be.
 */
import { uniform } from "../util/random.js";

/** One kind of machine. */
export interface DeviceProfile {
  readonly name: string;
  /** Tokens per second that it trains. */
  readonly tokensPerSecond: number;
  readonly uploadBytesPerSecond: number;
  readonly downloadBytesPerSecond: number;
  /** Absent: enough. */
  readonly memoryBytes?: number;
  /** Precision of the base model it trains on, or the name of its own file of it; absent: the one that all without a precision have. */
  readonly precision?: string;
  /** Probability that one attempt at a round breaks off: switched off, out of the network. */
  readonly failureProbability: number;
}

/** How speeds of machines of one kind differ; medians are those of the profile. */
export type SpeedSpread =
  /** Factor exp(sigma z), z standard normal. */
  | { readonly distribution: "lognormal"; readonly sigma: number }
  /** Factor from 1 - width to 1 + width. */
  | { readonly distribution: "uniform"; readonly width: number };

/** Who has which machine: named clients theirs, all others one that is drawn. */
export interface DeviceAssignment {
  readonly profiles: readonly DeviceProfile[];
  /** How often a profile is drawn, in proportion; a profile that is not named is not drawn. Empty: all equally. */
  readonly shares: Readonly<Record<string, number>>;
  /** Names of profiles by client id. */
  readonly clients: Readonly<Record<string, string>>;
  readonly speedSpread?: SpeedSpread;
}

/** The machine of a client: a function of seed and id, so that 10,000 clients need no list. */
export function deviceOf(assignment: DeviceAssignment, seed: number, clientId: string): DeviceProfile {
  const profile = profileOf(assignment, seed, clientId);
  const factor = speedFactor(assignment.speedSpread, seed, clientId);
  return factor === 1 ? profile : { ...profile, tokensPerSecond: profile.tokensPerSecond * factor };
}

function profileOf({ profiles, shares, clients }: DeviceAssignment, seed: number, clientId: string): DeviceProfile {
  const named = Object.hasOwn(clients, clientId) ? clients[clientId] : undefined;
  const own = profiles.find(({ name }) => name === named);
  if (own !== undefined) return own;
  const isEqual = Object.keys(shares).length === 0;
  const weights = profiles.map(({ name }) => (isEqual ? 1 : (shares[name] ?? 0)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let rest = uniform(seed, "device", clientId) * total;
  const drawn = profiles.find((_, index) => {
    rest -= weights[index] ?? 0;
    return rest < 0;
  });
  // Rounding may leave a rest of 0 behind the last profile that can be drawn.
  const fallback = profiles.findLast((_, index) => (weights[index] ?? 0) > 0);
  const profile = drawn ?? fallback;
  if (profile === undefined) throw new RangeError("no device can be drawn");
  return profile;
}

function speedFactor(spread: SpeedSpread | undefined, seed: number, clientId: string): number {
  if (spread === undefined) return 1;
  const first = uniform(seed, "device speed", clientId, 1);
  if (spread.distribution === "uniform") return 1 + spread.width * (2 * first - 1);
  // Box and Muller; 1 - u is never 0.
  const second = uniform(seed, "device speed", clientId, 2);
  return Math.exp(spread.sigma * Math.sqrt(-2 * Math.log(1 - first)) * Math.cos(2 * Math.PI * second));
}

/** What a client does in one round: the weights come, tokens are trained, the update goes. */
export interface Work {
  readonly downloadBytes: number;
  readonly numTokens: number;
  readonly uploadBytes: number;
}

/** Milliseconds of simulated time. */
export function workDuration(device: DeviceProfile, { downloadBytes, numTokens, uploadBytes }: Work): number {
  const seconds =
    downloadBytes / device.downloadBytesPerSecond + numTokens / device.tokensPerSecond + uploadBytes / device.uploadBytesPerSecond;
  return seconds * 1000;
}
