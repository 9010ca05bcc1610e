/**
 * The audit stays below the claim for the mechanism as it is, and goes above it for one that is broken: without noise, and without
 * clipping. Secrets are fixed, so each outcome is one for good.
 */
import { describe, expect, test } from "vitest";
import { makeClient, makeDeps, makeOptions, freshStart } from "../../../src/contract/federation.js";
import { pointSample } from "../../../src/contract/quadratic-trainer.js";
import { runServer } from "../../../src/federated/server.js";
import { epsilonOfEvents } from "../../../src/privacy/accounting/accountant.js";
import { auditMechanism, type AuditedRun } from "../../../src/privacy/audit.js";
import { lowerBound, upperBound } from "../../../src/privacy/binomial.js";
import { insecureSecret } from "../../../src/privacy/random-stream.js";
import { UserLevelPrivacy } from "../../../src/privacy/user-level.js";
import { runAudit } from "../../../src/run/privacy-audit.js";

describe("Clopper and Pearson's bounds", () => {
  test.each([
    // 0 of n: 1 - (1 - confidence)^(1/n); 5 of 10 at 97.5 %: a published table.
    [0, 100, 0.95, 0, 1 - 0.05 ** 0.01],
    [100, 100, 0.95, 0.05 ** 0.01, 1],
    [5, 10, 0.975, 0.1870860, 0.8129140],
    [1, 20, 0.975, 0.0012651, 0.2487328],
  ])("%d of %d at %d: %d to %d", (successes, trials, confidence, low, high) => {
    expect(lowerBound(successes, trials, confidence)).toBeCloseTo(low, 6);
    expect(upperBound(successes, trials, confidence)).toBeCloseTo(high, 6);
  });
});

const AUDIT = { numClients: 10, cohortSize: 5, numRounds: 2, noiseMultiplier: 1, delta: 1e-3, accountant: "rdp" as const, numTrials: 1000, confidence: 0.95, canaryLength: 100 };

describe("the mechanism by itself", () => {
  test.each([0, 1])("stays below its claim and comes near it, secret %d", async (seed) => {
    const { epsilonLowerBound, claimed } = await runAudit({ ...AUDIT, withoutNoise: false, secret: insecureSecret(seed) });
    expect(epsilonLowerBound).toBeLessThan(claimed);
    // A test that cannot see anything would pass too.
    expect(epsilonLowerBound).toBeGreaterThan(0.5);
  });

  test("without noise is found out", async () => {
    const { epsilonLowerBound, claimed } = await runAudit({ ...AUDIT, noiseMultiplier: 2, withoutNoise: true, secret: insecureSecret(0) });
    expect(epsilonLowerBound).toBeGreaterThan(claimed);
  });
});

describe("whole federations on the quadratic trainer", () => {
  const numClients = 4;
  const noiseMultiplier = 2;
  const claimed = epsilonOfEvents([{ sampleRate: 1, noiseMultiplier, count: 1 }], 1e-3, "pld");
  const clients = Array.from({ length: numClients }, (_, k) => makeClient(`c${String(k)}`, [pointSample(0, k, 0)]));
  // It pulls the first weight far away, and is clipped.
  const canary = makeClient("canary", [pointSample(1e6, 0, 0)]);

  /** One round of everybody, by how far the first weight came: of the sum, in clipping norms. */
  const run = (clipNorm: number, noise: number): AuditedRun => async (withCanary, trial) => {
    const sink = { isAffordable: () => true, charge: () => undefined, epsilonSpent: () => 0 };
    const secret = insecureSecret(2 * trial + (withCanary ? 1 : 0));
    const options = { sampling: "poisson" as const, cohortSize: numClients, noiseMultiplier: noise, clipNorm };
    const privacy = new UserLevelPrivacy(options, { numClients, totalWeight: numClients }, secret, sink);
    const deps = makeDeps("fedavg", { clients: withCanary ? [...clients, canary] : clients, privacy });
    const settings = makeOptions({ numRounds: 1, localSteps: 1, batchSize: 1 }, { dropout: 0, evaluateEvery: 5, measureAggregation: false });
    const { adapters } = await runServer(settings, deps, freshStart());
    const moved = adapters.kind === "global" ? (adapters.weights[0] ?? 0) - 0.5 : 0;
    return [(moved * numClients) / 0.5];
  };
  const options = { numTrials: 300, sampleRate: 1, noiseMultiplier, delta: 1e-3, confidence: 0.95 };

  test("stay below the claim", async () => {
    const { epsilonLowerBound } = await auditMechanism(run(0.5, noiseMultiplier), options);
    expect(epsilonLowerBound).toBeLessThan(claimed);
  });

  test("are found out when the noise is off, and when updates are clipped to fifty times what the noise is for", async () => {
    expect((await auditMechanism(run(0.5, 0), options)).epsilonLowerBound).toBeGreaterThan(claimed);
    // Noise for a norm of 0.5 on sums that are clipped to 25.
    expect((await auditMechanism(run(25, noiseMultiplier / 50), options)).epsilonLowerBound).toBeGreaterThan(claimed);
  });
});
