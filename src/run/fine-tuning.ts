/**
 * The personal adapters of an arm after its last round: each client is fine-tuned, its adapter is judged by the client's own
 * held-out data, and its rows are added to those of the last round as `metric@finetuned`. A client's rows are written in
 * one transaction, after its file if files are wanted; a resumed run goes on with the clients that have none.
 */
import type { ArmConfig } from "../config/schema.js";
import { findNonFinite } from "../adapter/weights.js";
import { fineTuneClient, fineTunedClients } from "../federated/fine-tuning.js";
import type { FederationDeps, FederationOptions } from "../federated/options.js";
import { adapterOf, type AdapterSet, type FederatedClient } from "../federated/protocol.js";
import { evaluationsByArm, events } from "../metrics/queries.js";
import { FedllmError } from "../errors.js";
import { assert } from "../util/assert.js";
import { FINE_TUNED, type EvaluateOwn } from "./arm-evaluation.js";
import type { ArmSetup } from "./arm.js";
import type { OpenBaseModel } from "./engine.js";
import { clientFileNames } from "./run-folder.js";
import { saveJoined } from "./save-adapters.js";

/** Of a client whose fine-tuning failed: it keeps the adapter that it had. */
const FINE_TUNING_FAILED = "fineTuningFailed";
/** Every fine-tuned client has this row, also one without held-out data. */
const TRAIN_LOSS = `train_loss@${FINE_TUNED}`;

/** What an arm was trained with. */
export interface FineTuningParts {
  readonly arm: ArmConfig;
  readonly base: OpenBaseModel;
  readonly options: FederationOptions;
  readonly deps: FederationDeps;
  readonly adapters: AdapterSet;
  readonly evaluateOwn: EvaluateOwn;
}

/** Fine-tunes the clients that are missing; nothing when the arm does not ask for it. Returns how many files were saved. Throws CANCELLED. */
export async function fineTuneArm(setup: ArmSetup, parts: FineTuningParts): Promise<number> {
  const { arm, options, deps, adapters } = parts;
  const { personalization } = arm.training;
  if (personalization === undefined) return 0;
  const plan = {
    localSteps: personalization.fineTuneSteps,
    learningRate: personalization.learningRate ?? arm.training.initialLearningRate,
    ...(personalization.numClients === undefined ? {} : { numClients: personalization.numClients }),
  };
  const clients = fineTunedClients(options, deps, adapters, plan);
  const fileNames = clientFileNames(clients.map(({ id }) => id));
  const done = clientsDone(setup, arm);
  for (const [index, client] of clients.entries()) {
    if (!done.has(client.id)) await fineTune(setup, parts, client, plan, fileNames.get(client.id) ?? client.id);
    setup.emit({ event: "fine_tuned", arm: arm.name, clientId: client.id, done: index + 1, total: clients.length });
  }
  const failed = failedClients(setup, arm);
  return personalization.saveAdapters ? clients.filter(({ id }) => !failed.has(id)).length : 0;
}

async function fineTune(
  setup: ArmSetup,
  { arm, base, options, deps, adapters, evaluateOwn }: FineTuningParts,
  client: FederatedClient,
  plan: Parameters<typeof fineTuneClient>[4],
  fileName: string,
): Promise<void> {
  throwIfCancelled(setup.signal);
  const { numRounds } = options.plan;
  const start = adapterOf(adapters, client.id);
  assert(start !== undefined, "a client that is fine-tuned has an adapter");
  const { frozen } = adapters;
  const outcome = await fineTuneClient(client, { start, frozen }, options, deps, plan).finally(() => {
    throwIfCancelled(setup.signal);
  });
  const failure = outcome.kind === "failure" ? outcome.failure : divergence(outcome.trainedWeights);
  if (outcome.kind === "failure" || failure !== undefined) {
    const { code, message } = failure ?? { code: "TRAIN_FAILED" as const, message: "" };
    const createdAt = new Date().toISOString();
    setup.store.recordEvent({ kind: FINE_TUNING_FAILED, arm: arm.name, round: numRounds, clientId: client.id, createdAt, message: `${code}: ${message}` });
    setup.emit({ event: "client_failed", arm: arm.name, round: numRounds, clientId: client.id, code, message });
    return;
  }
  const { trainedWeights, update } = outcome;
  if (arm.training.personalization?.saveAdapters === true) {
    await saveJoined(setup.paths.fineTunedAdapter(arm.name, fileName), arm, base, { weights: trainedWeights, frozen });
  }
  const rows = await evaluateOwn(client.id, trainedWeights, frozen).finally(() => {
    throwIfCancelled(setup.signal);
  });
  setup.store.recordEvaluations(arm.name, numRounds, [{ clientId: client.id, metric: TRAIN_LOSS, value: update.trainLoss }, ...rows]);
}

function divergence(weights: Float32Array): { readonly code: "TRAIN_DIVERGED"; readonly message: string } | undefined {
  const index = findNonFinite(weights);
  return index === undefined ? undefined : { code: "TRAIN_DIVERGED", message: `weight ${String(index)} is ${String(weights[index])}` };
}

function clientsDone(setup: ArmSetup, arm: ArmConfig): ReadonlySet<string> {
  const rows = evaluationsByArm(setup.store.database, arm.name).filter(({ metric }) => metric === TRAIN_LOSS);
  return new Set([...rows.flatMap(({ clientId }) => clientId ?? []), ...failedClients(setup, arm)]);
}

function failedClients({ store }: ArmSetup, arm: ArmConfig): ReadonlySet<string> {
  const failures = events(store.database).filter((event) => event.kind === FINE_TUNING_FAILED && event.arm === arm.name);
  return new Set(failures.flatMap(({ clientId }) => clientId ?? []));
}

function throwIfCancelled(signal: AbortSignal | undefined): void {
  if (signal?.aborted !== true) return;
  throw new FedllmError("CANCELLED", "the run was cancelled; clients that were fine-tuned are kept", { cause: signal.reason });
}
