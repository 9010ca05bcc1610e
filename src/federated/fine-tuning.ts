/**
 * Fine-tuning after federation, the plain way to a personal adapter: when all rounds are over, each client, or a sample of
 * them, trains some steps from the adapter it has by then. Nothing is sent, and clients do not depend on each other, so they
 * may be trained in any order and an interrupted series goes on with those that are missing.
 */
import { trainClient, type ClientOutcome } from "./client.js";
import type { FrozenAdapter } from "./local-trainer.js";
import type { FederationDeps, FederationOptions } from "./options.js";
import { adapterOf, type AdapterSet, type FederatedClient, type TrainTask } from "./protocol.js";

export interface FineTuningPlan {
  /** Optimizer steps of each client. */
  readonly localSteps: number;
  readonly learningRate: number;
  /** Clients that are drawn; absent: all that have an adapter. */
  readonly numClients?: number;
}

/** The clients to fine-tune, in the order of the data: by the draw that a round after the last one would make. */
export function fineTunedClients(
  { plan: { numRounds } }: FederationOptions,
  { clients, sampleIndices }: Pick<FederationDeps, "clients" | "sampleIndices">,
  adapters: AdapterSet,
  { numClients }: FineTuningPlan,
): readonly FederatedClient[] {
  const candidates = clients.filter(({ id }) => adapterOf(adapters, id) !== undefined);
  if (numClients === undefined || numClients >= candidates.length) return candidates;
  const drawn = new Set(sampleIndices(numRounds, candidates.length, numClients));
  return candidates.filter((_, index) => drawn.has(index));
}

/** Trains one client from its adapter, with what is frozen beside it, as it would train in a round after the last one. Throws only when the signal is aborted. */
export async function fineTuneClient(
  client: FederatedClient,
  { start, frozen }: { readonly start: Float32Array; readonly frozen?: readonly FrozenAdapter[] | undefined },
  options: FederationOptions,
  deps: Omit<FederationDeps, "metrics">,
  { localSteps, learningRate }: FineTuningPlan,
): Promise<ClientOutcome> {
  const { numRounds, batchSize } = options.plan;
  const task: TrainTask = {
    clientId: client.id,
    numExamples: client.numSamples,
    round: numRounds + 1,
    weights: start,
    localSteps,
    batchSize,
    clientLearningRate: learningRate,
    numSamples: Math.min(client.numSamples, batchSize * localSteps),
    sampleSeed: numRounds,
    ...(frozen === undefined ? {} : { frozenAdapters: frozen }),
  };
  const trainer = deps.trainerOf?.(client.id).trainer ?? deps.trainer;
  return trainClient(task, client, undefined, options, {
    trainer: trainer.forTask?.(task) ?? trainer,
    layoutFingerprint: "",
    sampleIndices: deps.sampleIndices,
    ...(deps.signal === undefined ? {} : { signal: deps.signal }),
    onProgress: (progress) => deps.onEvent?.({ type: "clientProgress", round: task.round, clientId: client.id, ...progress }),
  });
}
