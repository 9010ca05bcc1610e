/**
 * Bytes that a run will send, worked out before it: the cohorts that will be drawn, the tasks that the strategy will give them, and
 * the sizes of their vectors (traffic.ts). Nothing is trained; a strategy whose tasks grow or shrink says so by its state
 * (Strategy.sizesAfter). The same numbers as the rows of the run where everybody answers.
 */
import type { AdapterLayout } from "../adapter/layout.js";
import { alignedSizes } from "./alignment.js";
import { selectParticipants, type SampleIndices } from "./cohort.js";
import { splitByGroup } from "./groups.js";
import type { CohortMember, FederatedClient, NamedState, TrainTask } from "./protocol.js";
import type { RoundContext, Strategy, TrainingPlan } from "./strategy.js";
import { expectedDownloadBytes, expectedUploadBytes } from "./traffic.js";

/** Of all clients and rounds. */
export interface ExpectedTraffic {
  readonly uploadBytes: number;
  readonly downloadBytes: number;
  /** It can be less: clients may fail, or what travels depends on values that training makes. */
  readonly isUpperBound: boolean;
}

/** What a federation will be run with, as far as bytes depend on it. */
export interface TrafficRequest {
  readonly strategy: Strategy;
  readonly clients: readonly FederatedClient[];
  readonly plan: TrainingPlan;
  readonly layout: AdapterLayout;
  readonly sampleIndices: SampleIndices;
  /** Clients that are asked per one that is wanted; default: 1. */
  readonly overSelection?: number;
  /** Clients may fail or be late by the configuration. */
  readonly mayFail: boolean;
}

/** Works out all rounds; zeros for a strategy that sends nothing. */
export function expectTraffic(request: TrafficRequest): ExpectedTraffic {
  const { strategy, plan } = request;
  if (!strategy.exchangesWeights) return { uploadBytes: 0, downloadBytes: 0, isUpperBound: false };
  const isUncertain = request.mayFail || (request.overSelection ?? 1) > 1;
  let state = strategy.init(new Float32Array(request.layout.numParameters));
  let [upload, download] = [0, 0];
  let isUpperBound = isUncertain || strategy.sizesVary === true;
  for (let round = 1; round <= plan.numRounds; round++) {
    state = alignedSizes(strategy.serverSide, state, contextOf(request, round));
    const sizes = strategy.asynchronous === undefined ? sizesOfRound(request, state, round) : sizesOfVersion(request, state, round);
    upload += sizes.uploadBytes;
    download += sizes.downloadBytes;
    isUpperBound ||= sizes.isUpperBound;
    state = strategy.sizesAfter?.(state, sizes.asked, contextOf(request, round), !isUncertain) ?? state;
  }
  return { uploadBytes: upload, downloadBytes: download, isUpperBound };
}

interface RoundSizes extends ExpectedTraffic {
  readonly asked: readonly CohortMember[];
}

/** All that are asked get their task; as many as are wanted answer, of each group. */
function sizesOfRound(request: TrafficRequest, state: NamedState, round: number): RoundSizes {
  const { strategy, clients, plan, layout, sampleIndices, overSelection } = request;
  const asked = membersOf(selectParticipants(strategy, clients, plan, round, sampleIndices, overSelection));
  const tasks = strategy.configure(state, asked, contextOf(request, round));
  const wanted = strategy.cohort === "fixed" ? asked.length : plan.clientsPerRound;
  const uploads = splitByGroup(tasks, strategy.groups, ({ clientId }) => clientId).flatMap((group) => largest(group, wanted, layout));
  return { asked, uploadBytes: sumOf(uploads), downloadBytes: sumOf(tasks.map((task) => expectedDownloadBytes(task, layout))), isUpperBound: false };
}

/** Who answers an asynchronous server depends on the clock, so clients of different sizes give a bound. */
function sizesOfVersion(request: TrafficRequest, state: NamedState, round: number): RoundSizes {
  const { strategy, clients, layout } = request;
  const everybody = membersOf(clients);
  const tasks = strategy.configure(state, everybody, contextOf(request, round));
  const numAnswers = Math.min(strategy.asynchronous?.bufferSize ?? 0, everybody.length);
  const [uploads, downloads] = [largest(tasks, tasks.length, layout), tasks.map((task) => expectedDownloadBytes(task, layout)).sort((left, right) => right - left)];
  return {
    asked: everybody,
    uploadBytes: sumOf(uploads.slice(0, numAnswers)),
    downloadBytes: sumOf(downloads.slice(0, numAnswers)),
    isUpperBound: uploads.at(0) !== uploads.at(-1) || downloads.at(0) !== downloads.at(-1),
  };
}

/** Bytes of the answers, the largest first. */
function largest(tasks: readonly TrainTask[], count: number, layout: AdapterLayout): readonly number[] {
  return tasks
    .map((task) => expectedUploadBytes(task, layout))
    .sort((left, right) => right - left)
    .slice(0, count);
}

function contextOf({ plan, clients, layout }: TrafficRequest, round: number): RoundContext {
  return { round, plan, numClients: clients.length, layout, sizesOnly: true };
}

function membersOf(clients: readonly FederatedClient[]): readonly CohortMember[] {
  return clients.map(({ id, numSamples }) => ({ clientId: id, numExamples: numSamples }));
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
