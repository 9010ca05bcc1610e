/**
 * Local training, the baseline without federation: every client of one fixed cohort continues its own adapter from
 * round to round, nothing is sent and nothing is combined. With the cohort of round 1 and the same steps per round each
 * client makes numRounds * localSteps steps in all. A client that fails in a round keeps the adapter it had.
 */
import { localStepsOf } from "../local-steps.js";
import { oneByOne, plainTask, stateArray, type Strategy } from "../strategy.js";

/** Server state: `adapter`, the common start. Client state: `adapter`, its own. */
export function createLocal(): Strategy {
  return {
    name: "local",
    participants: "clients",
    cohort: "fixed",
    exchangesWeights: false,
    clientSide: {
      begin: (task, ownState) =>
        ownState === undefined ? task : { ...task, weights: stateArray(ownState, "adapter") },
      finish: (_task, { trainedWeights }) => ({ nextState: { arrays: { adapter: trainedWeights }, numbers: {} } }),
    },
    init: (weights) => ({ arrays: { adapter: weights }, numbers: {} }),
    configure: (state, cohort, context) =>
      cohort.map((member) => {
        // The fixed cohort takes part in every round.
        const localSteps = localStepsOf(context.plan, member, context.plan.numRounds);
        return plainTask(member, stateArray(state, "adapter"), context, localSteps);
      }),
    aggregate: oneByOne((state) => ({ add: () => undefined, finish: () => state })),
    adapters: ({ clients }) => ({
      kind: "perClient",
      weights: new Map([...clients].map(([clientId, state]) => [clientId, stateArray(state, "adapter")])),
    }),
  };
}
