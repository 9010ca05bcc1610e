/** The audit of `privacy audit`: the mechanism of a run with such numbers, against what the accountant says of it. */
import { epsilonOfEvents, type AccountingMethod } from "../privacy/accounting/accountant.js";
import { canaryRuns } from "../privacy/audit-canary.js";
import { auditMechanism, type AuditResult } from "../privacy/audit.js";
import { newSecret } from "../privacy/random-stream.js";

export interface AuditRequest {
  readonly numClients: number;
  readonly cohortSize: number;
  readonly numRounds: number;
  readonly noiseMultiplier: number;
  /** The claim is still that of the noise multiplier. */
  readonly withoutNoise: boolean;
  readonly delta: number;
  readonly accountant: AccountingMethod;
  readonly numTrials: number;
  readonly confidence: number;
  /** In clipping norms. */
  readonly canaryLength: number;
  /** Default: a new one. */
  readonly secret?: Uint8Array;
}

/** The bound from below, and the epsilon that is claimed. */
export async function runAudit(request: AuditRequest): Promise<AuditResult & { readonly claimed: number }> {
  const { numClients, cohortSize, numRounds, noiseMultiplier, withoutNoise, delta, accountant, canaryLength, secret = newSecret(), ...rest } = request;
  const sampleRate = cohortSize / numClients;
  const claimed = epsilonOfEvents([{ sampleRate, noiseMultiplier, count: numRounds }], delta, accountant);
  const mechanism = { sampling: "poisson" as const, cohortSize, clipNorm: 1, noiseMultiplier: withoutNoise ? 0 : noiseMultiplier };
  const run = canaryRuns({ mechanism, numClients, numRounds, canaryLength, secret });
  const result = await auditMechanism(run, { ...rest, sampleRate, noiseMultiplier: mechanism.noiseMultiplier, delta });
  return { ...result, claimed };
}
