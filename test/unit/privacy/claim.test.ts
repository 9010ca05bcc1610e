/** What is said of a run's releases: numbers rounded up, and sentences that leave nothing out. */
import { expect, test } from "vitest";
import { describeClaim, formatEpsilon, parseClaim, reportArm, type PrivacyClaim } from "../../../src/privacy/claim.js";

const CLAIM: PrivacyClaim = {
  accountantVersion: 1,
  accountant: "rdp",
  sampling: "poisson",
  numClients: 100,
  cohortSize: 5,
  numRounds: 10,
  noiseMultiplier: 1,
  clipNorm: 0.5,
  adaptiveClipping: false,
  exampleCap: null,
  delta: 1e-5,
  epsilon: null,
  hasStartAdapter: false,
};
const release = (round: number) => ({ round, sampling: "poisson" as const, sampleRate: 0.05, noiseMultiplier: 1 });

test.each([
  [0, "0"],
  [1.23001, "1.24"],
  [1.23, "1.23"],
  [0.0123456, "0.0124"],
  [12345, "1.24e+4"],
  [null, "unbounded"],
] as const)("epsilon %d is printed as %s", (epsilon, expected) => {
  expect(formatEpsilon(epsilon)).toBe(expected);
});

test("a report counts repeated results, and has a figure for whoever knows the cohorts", () => {
  const report = reportArm({ name: "a", isInsecure: true, isFinished: false }, parseClaim(JSON.stringify(CLAIM)), [release(1), release(2), release(2)]);
  expect(report).toMatchObject({ numReleases: 3, numRepeated: 1, isInsecure: true });
  expect(report.epsilonWithKnownCohorts).toBeGreaterThan(report.epsilonSpent ?? Number.POSITIVE_INFINITY);
  const text = describeClaim(report).join("\n");
  for (const part of [/^INSECURE/u, /1 results were made again/u, /one client are there or are not/u, /Not protected: metrics\.sqlite/u, /takes part with probability 0\.05000/u]) {
    expect(text).toMatch(part);
  }
});

test("releases without noise have no bound, and a start adapter is mentioned", () => {
  const report = reportArm({ name: "a", isInsecure: false, isFinished: true }, { ...CLAIM, hasStartAdapter: true }, [{ ...release(1), noiseMultiplier: 0 }]);
  expect(report.epsilonSpent).toBeNull();
  const text = describeClaim(report).join("\n");
  expect(text).toMatch(/epsilon unbounded/u);
  expect(text).toMatch(/adapter of an earlier run/u);
  expect(text).not.toMatch(/INSECURE/u);
});
