/**
 * Runs the suite of strategies for each one of the registry, and for the textbook form of those that have one. A method
 * that breaks a rule by its nature says why; where options switch that nature off, it passes with them.
 */
import { describe, expect, test } from "vitest";
import { contractTitles, strategyContract } from "../../src/contract/index.js";
import type { StrategyOptions } from "../../src/federated/strategies/options.js";
import { createStrategy, STRATEGY_NAMES } from "../../src/federated/strategies/registry.js";

interface StrategyCase {
  readonly options?: StrategyOptions;
  readonly exceptions?: Readonly<Record<string, string>>;
}

const [ALONE, IDENTICAL, FIRST_ROUND] = [
  "one client alone equals local training",
  "identical clients end where one of them ends",
  "the first round takes the mean of the clients' weights, each counting by its data",
];
const FAILURE = "a client that always fails counts as one that was not drawn";

const SCALED = "the server's step scales every coordinate of the change";
const ADAPTIVE = { [ALONE]: SCALED, [FIRST_ROUND]: SCALED };
const PULL = "the proximal term holds training back";
const MOMENTUM = "momentum carries changes of earlier rounds on";
const OWN_ADAPTERS = "every client keeps an adapter of its own";
const EQUAL = "every update counts once";
const MIXED = "the server keeps a part of its own weights";
const ONE_BY_ONE = "the server goes on before everybody has answered, so who else is there decides who comes next";
const POOL = "the pool of all data is one participant";

const HALF = "one half of each pair is fixed in a round";
const HALF_ONLY = { [ALONE]: HALF, [FIRST_ROUND]: HALF };
const FACTORS = "the product is kept, and its factors are chosen anew";
const REFACTORED = { [ALONE]: FACTORS, [FIRST_ROUND]: FACTORS };

const CASES: readonly (readonly [name: string, strategyCase: StrategyCase])[] = [
  ["local", { exceptions: { [FIRST_ROUND]: OWN_ADAPTERS } }],
  ["fedavg", {}],
  ["fedprox", { exceptions: { [ALONE]: PULL, [FIRST_ROUND]: PULL } }],
  ["fedprox", { options: { proximalMu: 0 } }],
  ["scaffold", {}],
  ["fedavgm", { exceptions: { [ALONE]: MOMENTUM } }],
  ["fedavgm", { options: { beta1: 0 } }],
  ["fedavgm", { options: { reference: "textbook" }, exceptions: { [ALONE]: MOMENTUM } }],
  ["fedavgm", { options: { reference: "textbook", beta1: 0 } }],
  ["fedadagrad", { exceptions: ADAPTIVE }],
  ["fedyogi", { exceptions: ADAPTIVE }],
  ["fedyogi", { options: { reference: "textbook" }, exceptions: ADAPTIVE }],
  ["fedadam", { exceptions: ADAPTIVE }],
  ["fedadam", { options: { reference: "textbook" }, exceptions: ADAPTIVE }],
  ["fedasync", { exceptions: { [ALONE]: MIXED, [FIRST_ROUND]: MIXED, [FAILURE]: ONE_BY_ONE, [IDENTICAL]: ONE_BY_ONE } }],
  ["fedbuff", { exceptions: { [FIRST_ROUND]: EQUAL } }],
  ["fedbuff", { options: { bufferSize: 2 }, exceptions: { [FIRST_ROUND]: EQUAL, [IDENTICAL]: ONE_BY_ONE } }],
  ["ffa-lora", { exceptions: HALF_ONLY }],
  ["rolora", { exceptions: HALF_ONLY }],
  ["fedsa-lora", { exceptions: { [FIRST_ROUND]: OWN_ADAPTERS } }],
  ["flexlora", { exceptions: REFACTORED }],
  ["florist", { exceptions: REFACTORED }],
  ["hetlora", { exceptions: { [FIRST_ROUND]: "clients count by the norm of their product" } }],
  ["lora-fair", { exceptions: { [FIRST_ROUND]: "B is moved towards the mean of the products" } }],
  ["fedex-lora", {}],
  ["flora", { exceptions: REFACTORED }],
  ["fed-sb", { exceptions: REFACTORED }],
  ["fedsvd", { exceptions: { ...HALF_ONLY, ...REFACTORED } }],
  ["fedot", {}],
  ["fedot", { options: { proximalMu: 0.5 }, exceptions: { [ALONE]: PULL, [FIRST_ROUND]: PULL } }],
  ["fedbiot", { exceptions: { [ALONE]: PULL, [FIRST_ROUND]: PULL } }],
  ["fedbiot", { options: { proximalMu: 0, alignEvery: 2, firstAlignSteps: 3, alignSteps: 2, alignLearningRate: 0.1 } }],
  ["fedbiot", { options: { proximalMu: 0, firstAlignSteps: 0, alignSteps: 0 } }],
  ["ditto", { exceptions: { [ALONE]: PULL, [FIRST_ROUND]: OWN_ADAPTERS } }],
  ["ditto", { options: { proximalMu: 0 }, exceptions: { [FIRST_ROUND]: OWN_ADAPTERS } }],
  ["feddpa", { exceptions: { [ALONE]: "a local adapter starts without the product of the global one", [FIRST_ROUND]: OWN_ADAPTERS } }],
  ["feddpa", { options: { similaritySamples: 3 }, exceptions: { [ALONE]: "a local adapter starts without the product of the global one", [FIRST_ROUND]: OWN_ADAPTERS } }],
  ["centralized", { exceptions: { [FIRST_ROUND]: POOL, [FAILURE]: POOL } }],
];

test("every registered strategy goes through the suite", () => {
  expect(new Set(CASES.map(([name]) => name))).toEqual(new Set(STRATEGY_NAMES));
});

for (const [name, { options = {}, exceptions = {} }] of CASES) {
  describe(`strategy ${name} ${JSON.stringify(options)}`, () => {
    const suite = strategyContract({ create: () => createStrategy(name, options), exceptions });
    for (const { title, run } of suite) test(title, run);
  });
}

describe("the suite itself", () => {
  const create = () => createStrategy("fedavg");

  test("names each test once, among them the ones that are excepted here", () => {
    const titles = contractTitles(create);
    expect(new Set(titles).size).toBe(titles.length);
    expect(titles).toEqual(expect.arrayContaining([ALONE, IDENTICAL, FIRST_ROUND, FAILURE]));
  });

  test("refuses an exception of no test", () => {
    expect(() => strategyContract({ create, exceptions: { "of no test": "" } })).toThrow(/titles of the suite .*of no test/);
  });

  test("fails for an exception that is not needed", async () => {
    const suite = strategyContract({ create, exceptions: { [ALONE]: "of no reason" } });
    const excepted = suite.find(({ title }) => title.startsWith(ALONE));
    await expect(excepted?.run()).rejects.toThrow("out of date");
  });

  test.each([
    ["changes its arguments", "arguments are never changed"],
    ["remembers", "nothing is kept between calls"],
    ["counts each client once", FIRST_ROUND],
  ])("finds a strategy that %s", async (fault, expected) => {
    const found: string[] = [];
    for (const { title, run } of strategyContract({ create: () => faulty(fault) })) await run().catch(() => found.push(title));
    expect(found.some((title) => title.startsWith(expected)), found.join("; ")).toBe(true);
  });
});

/** FedAvg with one mistake. */
function faulty(fault: string): ReturnType<typeof createStrategy> {
  const fedAvg = createStrategy("fedavg");
  let numCalls = 0;
  return {
    ...fedAvg,
    aggregate: (state, updates, context) => {
      numCalls += 1;
      const even = updates.map((update) => ({ ...update, numExamples: 1 }));
      const next = fedAvg.aggregate(state, fault === "counts each client once" ? even : updates, context);
      const adapter = next.arrays["adapter"];
      if (fault === "remembers" && adapter !== undefined) adapter[0] = numCalls;
      if (fault === "changes its arguments") state.arrays["adapter"]?.fill(0);
      return next;
    },
  };
}
