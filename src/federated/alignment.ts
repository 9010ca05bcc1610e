/**
 * What the server trains itself before the tasks of a round are made (Strategy.serverSide): an adapter in the emulator that clients
 * get, on data of the server's own, so that the emulator is like the model it was made of. The training is the seam's other side
 * (src/run/alignment.ts over the native core, the quadratic one of the contract).
 */
import { problemError } from "../errors.js";
import { deriveSeed } from "../util/random.js";
import type { FrozenAdapter, OptimizerOptions, TrainProgress } from "./local-trainer.js";
import type { FederationState, NamedState } from "./protocol.js";
import type { RoundSetup } from "./round.js";
import type { RoundContext } from "./strategy.js";

/** Where states are compared: behind the emulator's own layers alone, or behind each of them. */
export type HiddenLoss = "plain" | "layerwise";

/** One training of the emulator's adapter. */
export interface AlignmentTask {
  /** The trained adapter, by the emulator's layers. */
  readonly adapter: Omit<FrozenAdapter, "weights">;
  /** Where it starts; absent: with fresh weights. */
  readonly weights?: Float32Array;
  /** Count of its weights. */
  readonly numWeights: number;
  /** The clients' adapter, which is frozen in both models. */
  readonly globalWeights: Float32Array;
  readonly hiddenLoss: HiddenLoss;
  readonly hiddenWeight: number;
  readonly divergenceWeight: number;
  /** (mu / 2) ||w - start||^2 is added to the loss; 0: nothing. */
  readonly proximalMu: number;
  readonly localSteps: number;
  /** Samples per step. */
  readonly batchSize: number;
  readonly learningRate: number;
  /** Seed of the draw of the server's samples, as a client's. */
  readonly sampleSeed: number;
}

/** The task with everything that no strategy changes. */
export interface AlignmentRequest extends AlignmentTask {
  readonly weights: Float32Array;
  /** Positions of the server's samples, in the order in which they are used; passes over them repeat. */
  readonly sampleIndices: readonly number[];
  readonly microBatchTokens: number;
  readonly optimizer: OptimizerOptions;
  readonly lossScale?: number;
  readonly onProgress?: (progress: TrainProgress) => void;
}

/** How far emulator and model are apart: relative squared error of the states, summed over what is compared, and mean divergence. */
export interface AlignmentDistance {
  readonly hidden: number;
  readonly divergence: number;
}

export interface AlignmentResult {
  readonly weights: Float32Array;
  /** In the samples of the first step and of the last, each before it. */
  readonly first: AlignmentDistance;
  readonly last: AlignmentDistance;
}

/** Trains the emulator's adapter; keeps no state between calls. */
export interface ServerTrainer {
  /** Samples of the server's own. */
  readonly numSamples: number;
  /** A random, B zero. */
  initialWeights(adapter: AlignmentTask["adapter"], seed: number): Float32Array;
  align(request: AlignmentRequest, signal?: AbortSignal): Promise<AlignmentResult>;
}

/** The half of a strategy that trains at the server. Pure, as the strategy is. */
export interface ServerSide {
  /** What is trained before this round; undefined: nothing. */
  task(state: NamedState, context: RoundContext): AlignmentTask | undefined;
  /** The state with what came of it. */
  finish(state: NamedState, result: AlignmentResult, context: RoundContext): NamedState;
}

/** The state with which a round begins. Throws CONFIG_INVALID for a strategy that trains at a server without data, CANCELLED. */
export async function alignServer({ deps, options }: RoundSetup, state: FederationState, context: RoundContext): Promise<FederationState> {
  const { strategy, server, signal, onEvent, sampleIndices } = deps;
  const task = strategy.serverSide?.task(state.server, context);
  if (strategy.serverSide === undefined || task === undefined) return state;
  if (server === undefined) {
    throw problemError("CONFIG_INVALID", {
      subject: "data.serverFile",
      expected: `samples of the server's own, on which strategy ${strategy.name} trains`,
      received: "none",
    });
  }
  const { round } = context;
  const numDrawn = Math.min(server.numSamples, task.localSteps * task.batchSize);
  const request: AlignmentRequest = {
    ...task,
    weights: task.weights ?? server.initialWeights(task.adapter, deriveSeed(options.seed, "emulator-adapter")),
    sampleIndices: sampleIndices(task.sampleSeed, server.numSamples, numDrawn),
    microBatchTokens: options.microBatchTokens,
    optimizer: options.optimizer,
    ...(options.loss?.lossScale === undefined ? {} : { lossScale: options.loss.lossScale }),
    onProgress: ({ step, localSteps, loss }) => onEvent?.({ type: "serverProgress", round, step, localSteps, loss }),
  };
  const result = await server.align(request, signal);
  onEvent?.({ type: "serverFinished", round, first: result.first, last: result.last });
  return { ...state, server: strategy.serverSide.finish(state.server, result, context) };
}

/** The state with which a round begins, in its sizes: for working out what will travel. */
export function alignedSizes(serverSide: ServerSide | undefined, state: NamedState, context: RoundContext): NamedState {
  const task = serverSide?.task(state, context);
  if (serverSide === undefined || task === undefined) return state;
  const none = { hidden: 0, divergence: 0 };
  return serverSide.finish(state, { weights: new Float32Array(task.numWeights), first: none, last: none }, context);
}
