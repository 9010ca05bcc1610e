/**
 * What a federation is run with: the settings and the things it works with, all passed in. The checks here guard the
 * library's callers; a run from a configuration file was checked field by field before.
 */
import { problemError } from "../errors.js";
import type { UserLevelPrivacy } from "../privacy/user-level.js";
import type { ServerTrainer } from "./alignment.js";
import type { LocalTrainingOptions } from "./client.js";
import type { SampleIndices } from "./cohort.js";
import type { LocalTrainer } from "./local-trainer.js";
import type { Participation } from "./participation.js";
import type { AdapterSet, ClientUpdate, FederatedClient, GroupOf } from "./protocol.js";
import type { CheckpointSink, Clock, Evaluate, FederationEvent, MetricsSink } from "./records.js";
import type { Strategy, TrainingPlan } from "./strategy.js";

export interface FederationOptions extends LocalTrainingOptions {
  readonly plan: TrainingPlan;
  /** Accepted updates a round needs; with fewer it throws COHORT_TOO_SMALL. */
  readonly minClients: number;
  /** Slow and failing clients; absent: everybody who is asked answers. */
  readonly participation?: Participation;
  /** Clients that train at the same time; changes no result. */
  readonly maxConcurrentClients: number;
  /** Evaluate after every this many rounds, and always after the last. */
  readonly evaluateEvery: number;
  /** Evaluate the initial adapter too, as round 0. */
  readonly evaluateBeforeTraining: boolean;
  /** Measure in each round how far the global adapter is from the mean of the clients' products; changes no result. */
  readonly measureAggregation: boolean;
  /** Checkpoint after every this many rounds, and always after the last. */
  readonly checkpointEvery: number;
}

export interface FederationDeps {
  readonly trainer: LocalTrainer;
  /** Where a client trains, in federations of mixed precision: all trainers have one layout. Absent: everybody with `trainer`. */
  readonly trainerOf?: (clientId: string) => { readonly trainer: LocalTrainer; readonly precision: string };
  /** For strategies that train at the server (Strategy.serverSide). */
  readonly server?: ServerTrainer;
  readonly strategy: Strategy;
  /** For the clients' rows, whether or not groups have adapters of their own; absent: the data has no groups. */
  readonly groupOf?: GroupOf;
  /** In the order of the data set, which the draw of cohorts depends on. */
  readonly clients: readonly FederatedClient[];
  readonly sampleIndices: SampleIndices;
  /** Differential privacy of whole clients: who takes part, and the noisy mean of a round. Absent: none. */
  readonly privacy?: UserLevelPrivacy;
  /** What is done to an accepted update before it counts; absent: nothing. */
  readonly perturb?: (update: ClientUpdate) => ClientUpdate;
  readonly clock: Clock;
  readonly metrics: MetricsSink;
  readonly checkpoints?: CheckpointSink;
  readonly evaluate?: Evaluate;
  readonly onEvent?: (event: FederationEvent) => void;
  readonly peakMemoryBytes?: () => number;
  /**
   * Told of the adapters after each round that is recorded, the one that a snapshot is of included; the next round waits for it. It may be
   * told of a round again after a stop, with the same adapters.
   */
  readonly afterRound?: (round: number, adapters: AdapterSet) => Promise<void>;
  readonly signal?: AbortSignal;
}

/** Throws CONFIG_INVALID or DATASET_INVALID for settings that could not give a meaningful run. */
export function checkFederation(options: FederationOptions, clients: readonly FederatedClient[]): void {
  const { plan } = options;
  const counts: readonly (readonly [string, number | undefined])[] = [
    ["numRounds", plan.numRounds],
    ["clientsPerRound", plan.clientsPerRound],
    ["localSteps", plan.localSteps],
    ["pooledSteps", plan.pooledSteps],
    ["batchSize", plan.batchSize],
    ["minClients", options.minClients],
    ["maxConcurrentClients", options.maxConcurrentClients],
    ["evaluateEvery", options.evaluateEvery],
    ["checkpointEvery", options.checkpointEvery],
  ];
  if (plan.totalEpochs !== undefined && !(plan.totalEpochs > 0 && Number.isFinite(plan.totalEpochs))) {
    const received = String(plan.totalEpochs);
    throw problemError("CONFIG_INVALID", { subject: "totalEpochs", expected: "a finite number above 0", received });
  }
  for (const [subject, value] of counts) {
    if (value === undefined || (Number.isSafeInteger(value) && value > 0)) continue;
    throw problemError("CONFIG_INVALID", { subject, expected: "a whole number above 0", received: String(value) });
  }
  checkUnique("fixedClients", plan.fixedClients ?? [], "CONFIG_INVALID");
  checkUnique(
    "client ids",
    clients.map((client) => client.id),
    "DATASET_INVALID",
  );
  if (clients.some((client) => client.numSamples > 0)) return;
  throw problemError("DATASET_INVALID", {
    subject: "training data",
    expected: "at least one client with samples",
    received: `${String(clients.length)} clients without any`,
  });
}

function checkUnique(subject: string, ids: readonly string[], code: "CONFIG_INVALID" | "DATASET_INVALID"): void {
  const seen = new Set<string>();
  for (const id of ids) {
    if (seen.has(id)) {
      throw problemError(code, { subject, expected: "each id once", received: `${JSON.stringify(id)} twice` });
    }
    seen.add(id);
  }
}
