/**
 * What every strategy keeps to, whatever its method, as a list of tests that any test program can run:
 *   for (const { title, run } of strategyContract({ create: () => myStrategy })) test(title, run);
 * The tests run whole federations on the quadratic trainer and real checkpoint files; `run` rejects with what differs.
 * A method that is meant to break a rule names the test's title with the reason: then that test must fail, so that no
 * exception outlives its cause.
 */
import type { Strategy } from "../federated/strategy.js";
import { equivalenceTests } from "./equivalence.js";
import { robustnessTests } from "./robustness.js";

/** The strategy under test. */
export interface ContractSubject {
  /** A new strategy object each time. */
  readonly create: () => Strategy;
  /** Titles of the tests that the method cannot pass, each with the reason. */
  readonly exceptions?: Readonly<Record<string, string>>;
}

/** One test of the suite. */
export interface ContractTest {
  readonly title: string;
  /** Rejects when the strategy breaks the rule of the title, or fulfils one that it is excepted from. */
  readonly run: () => Promise<void>;
}

/** All tests for one strategy; they are independent of each other. Throws for an exception that names no test. */
export function strategyContract({ create, exceptions = {} }: ContractSubject): readonly ContractTest[] {
  const tests = [...equivalenceTests(create), ...robustnessTests(create)];
  const unknown = Object.keys(exceptions).find((title) => !tests.some((test) => test.title === title));
  if (unknown !== undefined) {
    const titles = tests.map(({ title }) => JSON.stringify(title)).join(", ");
    throw new RangeError(`exceptions: expected titles of the suite (${titles}), received ${JSON.stringify(unknown)}`);
  }
  return tests.map((test) => {
    const reason = exceptions[test.title];
    return reason === undefined ? test : excepted(test, reason);
  });
}

/** The titles of all tests, in order. */
export function contractTitles(create: () => Strategy): readonly string[] {
  return strategyContract({ create }).map(({ title }) => title);
}

function excepted({ title, run }: ContractTest, reason: string): ContractTest {
  return {
    title: `${title}: not here, because ${reason}`,
    run: async () => {
      const passes = await run().then(
        () => true,
        () => false,
      );
      if (passes) throw new Error(`the exception is out of date, the strategy fulfils it: ${title}`);
    },
  };
}
