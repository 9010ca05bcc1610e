/**
 * A program that runs or resumes one arm in the folder of its second argument, with the strategy of its first, on the
 * quadratic trainer with real lock, checkpoints and metrics. It prints "training" before its first step and "finished"
 * at the end, after writing the final adapters to `adapters.json`.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { CheckpointFolder } from "../../src/federated/checkpoint.js";
import { runServer, type FederationStart } from "../../src/federated/server.js";
import { MetricsStore } from "../../src/metrics/store.js";
import { acquireRunLock } from "../../src/util/lock-file.js";
import { makeDeps, makeOptions, NUM_PARAMETERS } from "../../src/contract/federation.js";
import { QuadraticTrainer } from "../../src/contract/quadratic-trainer.js";

const ARM = "arm";
const [strategy, folder, stepDelayMs] = process.argv.slice(2);
if (strategy === undefined || folder === undefined) throw new Error("usage: federation-program STRATEGY FOLDER [MS]");

const lock = acquireRunLock(folder);
const store = new MetricsStore(join(folder, "metrics.sqlite"));
store.saveRun({ id: "run", createdAt: new Date().toISOString(), seed: 7, config: {}, versions: {} });
store.saveArm("run", {
  name: ARM,
  armIndex: 0,
  strategy,
  modelName: "quadratic",
  modelSha256: "00",
  modelWeightBytes: 1,
});
const checkpoints = new CheckpointFolder(join(folder, "checkpoints"), {
  configFingerprint: `config of ${strategy}`,
  layoutFingerprint: "quadratic",
});
const loaded = await checkpoints.load();
const trainer = new QuadraticTrainer(NUM_PARAMETERS, () => Number(stepDelayMs ?? 0));
const start: FederationStart =
  loaded === undefined
    ? { kind: "weights", weights: trainer.initialWeights(7) }
    : { kind: "snapshot", snapshot: loaded.snapshot };

const deps = makeDeps(strategy);
console.log("training");
const { adapters } = await runServer(
  // A round of an asynchronous server is the work of one client or two, so there are more of them.
  makeOptions({ numRounds: deps.strategy.asynchronous === undefined ? 80 : 160 }, { evaluateBeforeTraining: true }),
  {
    ...deps,
    trainer,
    checkpoints,
    clock: { monotonicMs: () => performance.now(), now: () => new Date() },
    metrics: {
      recordRound: (record) => {
        store.recordRound(ARM, record);
      },
      removeAfterRound: (round) => {
        store.deleteAfterRound(ARM, round);
      },
    },
  },
  start,
);
const named = adapters.kind === "global" ? [["global", adapters.weights] as const] : [...adapters.weights];
writeFileSync(
  join(folder, "adapters.json"),
  JSON.stringify(named.map(([id, weights]) => [id, Buffer.from(weights.buffer).toString("hex")])),
);
store.close();
lock.release();
console.log("finished");
