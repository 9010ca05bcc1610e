/** The ledger: what is in it before a result exists, what a resumed run finds, and what it refuses. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { epsilonOfEvents } from "../../../src/privacy/accounting/accountant.js";
import { BUDGET_POINTS, epsilonSpent, eventsOf, type PrivacyBudget, type Release } from "../../../src/privacy/budget.js";
import { calibrateNoise } from "../../../src/privacy/calibrate.js";
import { PrivacyLedger } from "../../../src/privacy/ledger.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const BUDGET: PrivacyBudget = { delta: 1e-5, accountant: "rdp" };
const ARM = { name: "dp", fingerprint: "f", isInsecure: false, claim: "{}" };
const release = (round: number, noiseMultiplier = 1): Release => ({ round, sampling: "poisson", sampleRate: 0.1, noiseMultiplier });

let path: string;
let ledger: PrivacyLedger;
beforeEach(() => {
  path = join(makeTemporaryFolder(), "privacy.sqlite");
  ledger = new PrivacyLedger(path);
});
afterEach(() => {
  ledger.close();
});

function reopen(): void {
  ledger.close();
  ledger = new PrivacyLedger(path);
}

describe("secrets", () => {
  test("stay with the arm until it is finished, and then are nowhere in the file", () => {
    const secret = Buffer.from("0123456789abcdef0123456789abcdef");
    expect(ledger.beginArm(ARM, () => secret)).toEqual(secret);
    reopen();
    expect(Buffer.from(ledger.beginArm(ARM, () => Buffer.alloc(32)))).toEqual(secret);
    expect(readFileSync(path).includes(secret)).toBe(true);
    ledger.finishArm("dp");
    ledger.close();
    expect(readFileSync(path).includes(secret)).toBe(false);
    ledger = new PrivacyLedger(path);
    expect(() => ledger.beginArm(ARM, () => secret)).toThrow(/PRIVACY|finished/u);
  });

  test("are not handed to an arm with other settings, and nobody else may read them", () => {
    ledger.beginArm(ARM, () => Buffer.alloc(32));
    expect(() => ledger.beginArm({ ...ARM, fingerprint: "g" }, () => Buffer.alloc(32))).toThrow(/other settings/u);
    expect(statSync(path).mode & 0o077).toBe(0);
  });
});

describe("releases", () => {
  beforeEach(() => {
    ledger.beginArm(ARM, () => Buffer.alloc(32));
  });
  const sink = (budget = BUDGET) => ledger.sinkOf("dp", budget, () => new Date(0));

  test("with the same digest are one, also after the process ended", () => {
    sink().charge(release(1), "a", 1);
    reopen();
    sink().charge(release(1), "a", 1);
    expect(ledger.releases("dp")).toEqual([{ ...release(1), attempt: 1, clipNorm: 1, chargedAt: "1970-01-01T00:00:00.000Z" }]);
  });

  test("of another sum of the same round are charged again, as one with less noise on the same cohort", () => {
    sink().charge(release(1), "a", 1);
    sink().charge(release(1), "b", 1);
    sink().charge(release(2), "c", 1);
    expect(ledger.releases("dp").map(({ round, attempt }) => [round, attempt])).toEqual([[1, 1], [1, 2], [2, 1]]);
    const events = eventsOf(ledger.releases("dp"));
    expect(events.map(({ count }) => count)).toEqual([1, 1]);
    expect(events[0]?.noiseMultiplier).toBeCloseTo(Math.SQRT1_2, 12);
    expect(epsilonSpent(ledger.releases("dp"), BUDGET)).toBeGreaterThan(epsilonSpent([release(1), release(2), release(3)], BUDGET));
  });

  test("that would overspend are refused and leave no row; what was released may be computed again", () => {
    const two = epsilonSpent([release(1), release(2)], BUDGET);
    const limited = sink({ ...BUDGET, epsilon: two });
    limited.charge(release(1), "a", 1);
    expect(limited.isAffordable(release(2))).toBe(true);
    limited.charge(release(2), "b", 1);
    expect(limited.isAffordable(release(3))).toBe(false);
    expect(limited.isAffordable(release(2))).toBe(true);
    expect(() => {
      limited.charge(release(3), "c", 1);
    }).toThrow(/cost at most epsilon/u);
    expect(() => {
      limited.charge(release(2), "another", 1);
    }).toThrow(/cost at most epsilon/u);
    expect(ledger.releases("dp").length).toBe(2);
    expect(limited.epsilonSpent()).toBe(two);
  });

  test("without noise have no bound", () => {
    sink().charge(release(1, 0), "a", 1);
    expect(sink().epsilonSpent()).toBe(Number.POSITIVE_INFINITY);
    expect(sink({ ...BUDGET, epsilon: 1e6 }).isAffordable(release(2))).toBe(false);
  });
});

describe("calibration", () => {
  test.each([
    { epsilon: 8, delta: 1e-5, sampleRate: 0.04, numRounds: 2250, accountant: "rdp" as const, published: 1.416 },
    { epsilon: 8, delta: 1e-5, sampleRate: 0.04, numRounds: 2000, accountant: "rdp" as const, published: 1.3562 },
    { epsilon: 8, delta: 1e-5, sampleRate: 0.04, numRounds: 2250, accountant: "pld" as const, published: 1.34765625 },
    { epsilon: 1, delta: 1e-6, sampleRate: 1, numRounds: 1, accountant: "pld" as const, published: 4.2247 },
  ])("epsilon $epsilon in $numRounds rounds by $accountant: $published", ({ published, ...target }) => {
    const noiseMultiplier = calibrateNoise(target);
    const cost = (noise: number) => epsilonOfEvents([{ sampleRate: target.sampleRate, noiseMultiplier: noise, count: target.numRounds }], target.delta, target.accountant, BUDGET_POINTS);
    expect(cost(noiseMultiplier)).toBeLessThanOrEqual(target.epsilon);
    expect(cost(noiseMultiplier * 0.999)).toBeGreaterThan(target.epsilon);
    // The published ones are rounded up on a grid of their own, by up to a thousandth.
    expect(Math.abs(noiseMultiplier / published - 1)).toBeLessThan(2e-3);
  });

  test("refuses what no noise reaches", () => {
    expect(() => calibrateNoise({ epsilon: 1e-9, delta: 1e-12, sampleRate: 1, numRounds: 1e6, accountant: "rdp" })).toThrow(/some noise up to 1e5/u);
  });
});
