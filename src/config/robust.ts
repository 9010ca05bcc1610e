/** The section `robust`: what an arm's server does in the place of a mean, and what that cannot be combined with. */
import { z } from "zod";
import { problemError } from "../errors.js";
import { findRobustObstacle } from "../federated/robust.js";
import type { Strategy } from "../federated/strategy.js";
import { knowsHostile, neededUpdates, ROBUST_RULES, type RobustOptions } from "../robust/rules.js";
import type { ArmConfig } from "./schema.js";

export const robustShape = {
  rule: z
    .enum(["none", ...ROBUST_RULES])
    .default("none")
    .describe("what takes the place of the mean of the clients' updates; every client then counts once, whatever the size of its data; none: the strategy's mean"),
  assumedHostile: z.int().min(0).max(1e6).optional().describe("clients of a round that may be hostile, with rule trimmedMean, krum, multiKrum or bulyan"),
  numSelected: z.int().min(1).max(1e6).optional().describe("rule multiKrum: updates that its mean is of; default: all but assumedHostile + 2 of those that came"),
  maxNorm: z.number().positive().max(1e12).optional().describe("rule normBound: longest update that counts in full; default: medianFactor times the median of the round's norms"),
  medianFactor: z.number().positive().max(1e6).default(2).describe("rule normBound without maxNorm: the bound over the median of the norms"),
  overBound: z.enum(["clip", "reject"]).default("clip").describe("rule normBound: clip shortens longer updates to the bound, reject leaves them out"),
};

export const robustSection = z.strictObject(robustShape);

/** The section as written, with fields of rules that are not chosen. */
export type RobustInput = z.output<typeof robustSection>;
/** The rule of an arm. */
export type RobustConfig = RobustOptions;

/** An arm without a rule has no section. Fields that its rule does not take are left out, so that a grid can vary the rule. */
export function robustOf(section: RobustInput): { readonly robust?: RobustConfig } {
  const { rule, assumedHostile, numSelected, maxNorm, medianFactor, overBound } = robustSection.parse(section);
  if (rule === "none") return {};
  return {
    robust: {
      rule,
      ...(knowsHostile(rule) && assumedHostile !== undefined ? { assumedHostile } : {}),
      ...(rule === "multiKrum" && numSelected !== undefined ? { numSelected } : {}),
      ...(rule === "normBound" && maxNorm !== undefined ? { maxNorm } : {}),
      medianFactor,
      overBound,
    },
  };
}

/** Throws CONFIG_INVALID for a rule that would not hold what it promises, saying why. */
export function checkRobustConfig(arm: ArmConfig, strategy: Strategy): void {
  const { robust, privacy, training } = arm;
  if (robust === undefined) return;
  const refuse = (field: string, expected: string, received: string, remedy?: string) =>
    problemError("CONFIG_INVALID", { subject: `${field} of arm ${arm.name}`, expected, received, ...(remedy === undefined ? {} : { remedy }) });
  const obstacle = findRobustObstacle(strategy);
  if (obstacle !== undefined) throw refuse("robust.rule", "none, or a strategy that needs one mean of its clients' updates", `strategy ${strategy.name}: ${obstacle}`);
  if (privacy?.dp === "user") {
    const remedy = "Its clipping bounds every client already; choose one of the two";
    throw refuse("robust.rule", "none with dp: user, whose noise is made for a sum of clipped updates and not for what a rule makes of them", robust.rule, remedy);
  }
  if (knowsHostile(robust.rule) && robust.assumedHostile === undefined) {
    throw refuse("robust.assumedHostile", `how many clients of a round may be hostile, with rule ${robust.rule}`, "nothing");
  }
  const needed = neededUpdates(robust);
  if (training.clientsPerRound >= needed) return;
  const remedy = "Ask more clients, or assume fewer hostile ones: with fewer updates the rule can be led anywhere";
  throw refuse("training.clientsPerRound", `at least ${String(needed)} with rule ${robust.rule} and ${String(robust.assumedHostile)} hostile ones${robust.numSelected === undefined ? "" : `, ${String(robust.numSelected)} of them selected`}`, String(training.clientsPerRound), remedy);
}
