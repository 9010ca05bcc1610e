/**
 * The package's `fedllm-native/contract`: the suite that runs against every registered strategy, for strategies of one's
 * own, and the small federation it runs them in. Needs no test program and no model.
 */
export { contractTitles, strategyContract } from "./suite.js";
export type { ContractSubject, ContractTest } from "./suite.js";
export { makeClient, makeClients, makeDeps, makeOptions } from "./federation.js";
export { pointSample, QuadraticTrainer } from "./quadratic-trainer.js";
