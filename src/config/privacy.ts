/** The section `privacy`: differential privacy of an arm's clients, and what it cannot be combined with. */
import { z } from "zod";
import { problemError } from "../errors.js";
import { findPrivacyObstacle } from "../federated/private-round.js";
import type { Strategy } from "../federated/strategy.js";
import { multiplierBesideCount } from "../privacy/user-level.js";
import type { ArmConfig } from "./schema.js";

const adaptiveSection = z.strictObject({
  targetQuantile: z.number().min(0).max(1).default(0.5).describe("part of the updates that should be within the clipping norm"),
  learningRate: z.number().positive().max(10).default(0.2).describe("how fast the norm follows, as a rate of its logarithm"),
  countNoise: z
    .number()
    .positive()
    .max(1e6)
    .optional()
    .describe("standard deviation of the noise on the number of updates within the norm; more than half of the noise multiplier; default: clientsPerRound / 20"),
});

export const privacyShape = {
  dp: z
    .enum(["none", "user", "paper"])
    .default("none")
    .describe("user: differential privacy of whole clients, proven and accounted; paper: FedLLM-Bench's formula for noise, which proves nothing; none"),
  epsilon: z.number().positive().max(1e6).optional().describe("what the arm may cost: it stops before a round that would cost more; without noiseMultiplier the noise is chosen for it"),
  delta: z.number().positive().lt(1).optional().describe("default: 1 / number of clients^1.1"),
  noiseMultiplier: z.number().positive().max(1e5).optional().describe("standard deviation of the noise on the sum of updates, over clipNorm; default: the least that epsilon allows for all rounds"),
  clipNorm: z.number().min(1e-9).max(1e6).default(1).describe("L2 norm to which a client's whole update is shortened"),
  adaptiveClipping: adaptiveSection.optional().describe("let clipNorm follow the updates, at a small part of the budget; default: it stays"),
  weighting: z
    .enum(["uniform", "examples"])
    .default("uniform")
    .describe("how clients count: all alike, or by min(samples / exampleCap, 1); the strategy's own weights are not taken"),
  exampleCap: z.int().min(1).max(1e6).optional().describe("samples from which on a client counts fully, with weighting: examples"),
  sampling: z
    .enum(["poisson", "fixedSize"])
    .default("poisson")
    .describe("poisson: each client takes part with probability clientsPerRound / number of clients; fixedSize: exactly clientsPerRound do, which is counted as such and costs far more"),
  accountant: z.enum(["pld", "rdp"]).optional().describe("pld: composed privacy loss, the tighter count; rdp: Renyi; default: pld, with fixedSize rdp"),
  insecureSeed: z
    .int()
    .min(0)
    .max(2 ** 32 - 1)
    .optional()
    .describe("draw cohorts and noise from this seed, so that the run repeats; whoever knows it can take the noise away, so nothing is protected"),
  noiseStd: z.number().positive().optional().describe("dp: paper, standard deviation of the noise on each weight; default: from epsilon"),
  totalSamples: z.int().min(1).optional().describe("dp: paper, samples of all clients in its formula; default: those that there are"),
};

export const privacySection = z.strictObject(privacyShape);

/** Differential privacy of an arm. */
export type PrivacyConfig = z.output<typeof privacySection>;

/** Fields that belong to one kind alone. */
const ONLY: Readonly<Record<"user" | "paper", readonly (keyof PrivacyConfig)[]>> = {
  user: ["noiseMultiplier", "adaptiveClipping", "exampleCap", "accountant", "insecureSeed"],
  paper: ["noiseStd", "totalSamples"],
};

/** Throws CONFIG_INVALID for settings whose noise would not protect what it is claimed to, saying why. */
export function checkPrivacyConfig(arm: ArmConfig, strategy: Strategy): void {
  const { privacy } = arm;
  if (privacy === undefined) return;
  const refuse = (field: string, expected: string, received: string, remedy?: string) =>
    problemError("CONFIG_INVALID", { subject: `${field} of arm ${arm.name}`, expected, received, ...(remedy === undefined ? {} : { remedy }) });
  const obstacle = findPrivacyObstacle(strategy);
  if (obstacle !== undefined) throw refuse("privacy.dp", "a strategy that needs one mean of its clients' updates and nothing else", `strategy ${strategy.name}: ${obstacle}`);
  const kind = privacy.dp === "paper" ? "paper" : "user";
  const foreign = ONLY[kind === "user" ? "paper" : "user"].find((field) => privacy[field] !== undefined);
  if (foreign !== undefined) throw refuse(`privacy.${foreign}`, `nothing with dp: ${kind}`, JSON.stringify(privacy[foreign]));
  if (kind === "paper") checkPaper(arm, refuse);
  else checkUser(arm, privacy, refuse);
}

type Refuse = (field: string, expected: string, received: string, remedy?: string) => Error;

function checkPaper({ privacy, training }: ArmConfig, refuse: Refuse): void {
  if (privacy?.noiseStd === undefined && privacy?.epsilon === undefined) throw refuse("privacy", "epsilon or noiseStd with dp: paper", "neither");
  if (training.optimizer.maxGradientNorm === null) throw refuse("training.optimizer.maxGradientNorm", "a number with dp: paper, whose formula has it", "null");
}

function checkUser(arm: ArmConfig, privacy: PrivacyConfig, refuse: Refuse): void {
  const { training, federation } = arm;
  if (privacy.epsilon === undefined && privacy.noiseMultiplier === undefined) throw refuse("privacy", "epsilon or noiseMultiplier with dp: user", "neither");
  if (privacy.weighting === "examples" && privacy.exampleCap === undefined) {
    throw refuse("privacy.weighting", "uniform, or examples with an exampleCap", "examples", "Without a cap a large client moves the mean by more than the noise was made for");
  }
  if (privacy.weighting === "uniform" && privacy.exampleCap !== undefined) throw refuse("privacy.exampleCap", "nothing with weighting: uniform", String(privacy.exampleCap));
  if (privacy.sampling === "fixedSize" && privacy.accountant === "pld") {
    throw refuse("privacy.accountant", "rdp with sampling: fixedSize", "pld", "A cohort of fixed size is no Poisson sample, for which the composed privacy loss is known; counted as one, it would claim too little");
  }
  if (training.minClients > 1) throw refuse("training.minClients", "1 with dp: user, since stopping for a small cohort tells who was in it", String(training.minClients));
  if (federation.overSelection > 1) throw refuse("federation.overSelection", "1 with dp: user, since there a client can push another one out of the mean", String(federation.overSelection));
  if (federation.adapterPerGroup) throw refuse("federation.adapterPerGroup", "false with dp: user, since who is in a group is not hidden", "true");
  const { adaptiveClipping, noiseMultiplier } = privacy;
  if (adaptiveClipping !== undefined && noiseMultiplier !== undefined) multiplierBesideCount(noiseMultiplier, countNoiseOf(adaptiveClipping, training.clientsPerRound));
}

/** The noise on the count of updates within the norm: a twentieth of the cohort, as its paper advises. */
export function countNoiseOf({ countNoise }: NonNullable<PrivacyConfig["adaptiveClipping"]>, cohortSize: number): number {
  return countNoise ?? cohortSize / 20;
}
