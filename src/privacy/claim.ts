/** What is claimed for an arm, as it is kept in the ledger and told by `privacy report`. */
import { z } from "zod";
import { epsilonOfEvents } from "./accounting/accountant.js";
import { epsilonSpent, eventsOf, type Release } from "./budget.js";

/** Counts up when the accountant gives other numbers for the same releases. */
export const ACCOUNTANT_VERSION = 1;

const claimSchema = z.strictObject({
  accountantVersion: z.int(),
  accountant: z.enum(["pld", "rdp"]),
  sampling: z.enum(["poisson", "fixedSize"]),
  numClients: z.int(),
  cohortSize: z.number(),
  numRounds: z.int(),
  noiseMultiplier: z.number(),
  clipNorm: z.number(),
  adaptiveClipping: z.boolean(),
  exampleCap: z.int().nullable(),
  delta: z.number(),
  /** The budget; null: none. */
  epsilon: z.number().nullable(),
  /** Trained on from an adapter of an earlier run, whose cost is not in this ledger. */
  hasStartAdapter: z.boolean(),
});

/** The mechanism's public parameters. */
export type PrivacyClaim = z.output<typeof claimSchema>;

/** From the ledger's JSON; throws what zod throws for another text. */
export function parseClaim(text: string): PrivacyClaim {
  return claimSchema.parse(JSON.parse(text));
}

/** What one arm has cost. */
export interface ArmPrivacyReport extends PrivacyClaim {
  readonly arm: string;
  readonly isInsecure: boolean;
  readonly isFinished: boolean;
  readonly numReleases: number;
  /** Rounds whose result was made more than once. */
  readonly numRepeated: number;
  /** Epsilon of all releases; null without any bound. */
  readonly epsilonSpent: number | null;
  /** The same for somebody who knows who took part in each round; null without any bound. */
  readonly epsilonWithKnownCohorts: number | null;
}

/** The figures of an arm's releases. */
export function reportArm(arm: { readonly name: string; readonly isInsecure: boolean; readonly isFinished: boolean }, claim: PrivacyClaim, releases: readonly Release[]): ArmPrivacyReport {
  const { delta, accountant } = claim;
  const known = eventsOf(releases).map((event) => ({ ...event, sampling: "poisson" as const, sampleRate: 1 }));
  const rounds = new Set(releases.map(({ round }) => round));
  const finite = (value: number) => (Number.isFinite(value) ? value : null);
  return {
    ...claim,
    arm: arm.name,
    isInsecure: arm.isInsecure,
    isFinished: arm.isFinished,
    numReleases: releases.length,
    numRepeated: releases.length - rounds.size,
    epsilonSpent: finite(epsilonSpent(releases, { delta, accountant })),
    epsilonWithKnownCohorts: finite(epsilonOfEvents(known, delta, accountant)),
  };
}

/** Three digits, rounded up: a bound must not get smaller by being printed. */
export function formatEpsilon(epsilon: number | null): string {
  if (epsilon === null) return "unbounded";
  if (epsilon === 0) return "0";
  const unit = 10 ** (Math.floor(Math.log10(epsilon)) - 2);
  return (Math.ceil(epsilon / unit - 1e-9) * unit).toPrecision(3);
}

/** The claim in sentences, one per line. */
export function describeClaim(report: ArmPrivacyReport): readonly string[] {
  const { delta, sampling, numClients, cohortSize, clipNorm, noiseMultiplier } = report;
  const isPoisson = sampling === "poisson";
  const neighbour = isPoisson ? "all samples of one client are there or are not" : "all samples of one client are replaced by others";
  const spent = `epsilon ${formatEpsilon(report.epsilonSpent)} for delta ${delta.toPrecision(3)}`;
  return [
    ...(report.isInsecure ? ["INSECURE: cohorts and noise come from a seed in the configuration. Whoever has it can take the noise away, and nothing below is guaranteed."] : []),
    `The ${String(report.numReleases)} released results of ${report.arm} together are (epsilon, delta)-differentially private: ${spent}.`,
    `Unit: one client, as a user of the data; two data sets are neighbours when ${neighbour}.`,
    `Mechanism: in each round ${isPoisson ? `every client takes part with probability ${(cohortSize / numClients).toPrecision(4)}` : `${String(cohortSize)} clients drawn at random take part`} ` +
      `(${String(numClients)} clients); the whole update is clipped to L2 norm ${String(clipNorm)}${report.adaptiveClipping ? " at first, then adaptively" : ""}` +
      `${report.exampleCap === null ? "" : ` and counts by min(samples / ${String(report.exampleCap)}, 1)`}; discrete Gaussian noise of ${noiseMultiplier.toPrecision(6)} times the norm is added to the sum, which is divided by a fixed number.`,
    `Accounting: ${report.accountant === "pld" ? "composed privacy loss, rounded up, or Renyi where that is less" : "Renyi differential privacy, improved conversion"}; version ${String(report.accountantVersion)}.`,
    ...(report.numRepeated === 0 ? [] : [`${String(report.numRepeated)} results were made again with another sum of the same cohort; each was charged.`]),
    "Who is trusted: the process that runs the federation. It sees every update, and it holds the secret of an arm until the arm is finished.",
    "Protected: the global adapter of every round, and everything computed from these adapters alone: merged models, texts, figures on public data.",
    `Not protected: metrics.sqlite (losses, norms, counts and times of single clients, and who took part), logs and events, checkpoints with clients' own states, adapters of single ` +
      "clients (personal and fine-tuned ones), evaluations on clients' held-out samples, and the choice of settings by earlier runs on the same data. Do not publish these.",
    `Whoever knows who took part in each round gets less: ${formatEpsilon(report.epsilonWithKnownCohorts)} instead of ${formatEpsilon(report.epsilonSpent)}. The number of clients${report.exampleCap === null ? "" : " and their total weight"} is taken to be public.`,
    "A user with samples in several clients, or with several clients, is protected only as each of them; what other arms and runs on the same data cost adds up when their results are given out too.",
    ...(report.hasStartAdapter ? ["Training began at an adapter of an earlier run; what that cost is not in these numbers."] : []),
  ];
}
