/**
 * The server: all rounds of one arm, from the initial adapter or from a snapshot. After each round it asks for a
 * checkpoint. Everything it works with is passed in (options.ts), so whole runs go through a unit test without a model.
 */
import { fingerprintLayout } from "../adapter/layout.js";
import { checkSameShape } from "../adapter/weights.js";
import { isFedllmError } from "../errors.js";
import { assert } from "../util/assert.js";
import { checkFederation, type FederationDeps, type FederationOptions } from "./options.js";
import { poolParticipants } from "./pooled-client.js";
import type { AdapterSet, FederationState } from "./protocol.js";
import type { Snapshot } from "./records.js";
import { runAsynchronousRound } from "./asynchronous.js";
import { canGoOn } from "./private-round.js";
import { evaluateRound, runRound, throwIfCancelled, type RoundSetup } from "./round.js";

/** Where a run starts: at fresh weights, or after the round of a snapshot. */
export type FederationStart =
  | { readonly kind: "weights"; readonly weights: Float32Array }
  | { readonly kind: "snapshot"; readonly snapshot: Snapshot };

export interface FederationResult {
  /** The last one; fewer than there should be where the privacy budget was spent before. */
  readonly round: number;
  readonly state: FederationState;
  readonly adapters: AdapterSet;
}

/**
 * Runs the remaining rounds, or with privacy those that its budget pays for. Metric rows later than the start are removed first, so an interrupted run that goes on
 * ends with the rows of one that was never interrupted. Throws CANCELLED, COHORT_TOO_SMALL, CONFIG_INVALID, and
 * whatever the sinks and the evaluation throw.
 */
export async function runServer(
  options: FederationOptions,
  deps: FederationDeps,
  start: FederationStart,
): Promise<FederationResult> {
  checkFederation(options, deps.clients);
  const { strategy } = deps;
  const runNext = strategy.asynchronous === undefined ? runRound : runAsynchronousRound;
  const setup: RoundSetup = {
    options,
    deps,
    participants: strategy.participants === "pooled" ? poolParticipants(deps.clients, strategy.groups) : deps.clients,
    layoutFingerprint: fingerprintLayout(deps.trainer.layout),
  };
  let { round, state } = await begin(setup, start);
  const { numRounds } = options.plan;
  if (start.kind === "snapshot") await deps.afterRound?.(round, strategy.adapters(state, deps.trainer.layout));
  assert(round <= numRounds, "a snapshot is not of a later round than the last");
  while (round < numRounds && canGoOn(deps, round)) {
    throwIfCancelled(deps.signal);
    const next = await runNext(setup, state, round + 1).catch(whenSpent);
    if (next === undefined) break;
    state = next;
    round += 1;
    const isLast = round === numRounds || !canGoOn(deps, round);
    if (deps.checkpoints !== undefined && (isLast || round % options.checkpointEvery === 0)) {
      await deps.checkpoints.save({ round, state });
      state = deps.checkpoints.release?.(state) ?? state;
    }
    await deps.afterRound?.(round, strategy.adapters(state, deps.trainer.layout));
  }
  return { round, state, adapters: strategy.adapters(state, deps.trainer.layout) };
}

/** A round that was released, is computed again with another sum, and cannot be paid for twice: the run ends before it. */
function whenSpent(error: unknown): undefined {
  if (isFedllmError(error, "PRIVACY_SPENT")) return undefined;
  throw error;
}

async function begin(setup: RoundSetup, start: FederationStart): Promise<Snapshot> {
  const { deps, options } = setup;
  if (start.kind === "snapshot") {
    await deps.metrics.removeAfterRound(start.snapshot.round);
    return start.snapshot;
  }
  checkSameShape(start.weights, deps.trainer.layout.numParameters, "initial weights");
  await deps.metrics.removeAfterRound(undefined);
  const state: FederationState = { server: deps.strategy.init(start.weights), clients: new Map() };
  if (options.evaluateBeforeTraining) await recordBeforeTraining(setup, start.weights);
  return { round: 0, state };
}

/** Round 0 has one adapter for everybody, whatever the strategy makes of it later. */
async function recordBeforeTraining(setup: RoundSetup, weights: Float32Array): Promise<void> {
  const { clock, metrics } = setup.deps;
  const startedAt = clock.now().toISOString();
  const startMs = clock.monotonicMs();
  const evaluation = await evaluateRound(setup, { kind: "global", weights }, 0);
  await metrics.recordRound({
    round: 0,
    startedAt,
    durationMs: clock.monotonicMs() - startMs,
    ...evaluation,
    cohortSize: 0,
    numSucceeded: 0,
    numFailed: 0,
    numRejected: 0,
    uploadBytes: 0,
    downloadBytes: 0,
    clients: [],
    measures: [],
    events: [],
  });
}
