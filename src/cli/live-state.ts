/** Run events -> the state the live table shows. A pure reducer: the same events give the same state. */
import type { RunEvent } from "../run/events.js";

export interface LiveState {
  readonly name: string;
  readonly runFolder: string;
  readonly arms: readonly LiveArm[];
  /** Index in `arms` of the one at work. */
  readonly activeArm: number | undefined;
  readonly clients: readonly LiveClient[];
  /** Computed tokens and the time they took, for the speed; only finished steps count. */
  readonly tokenWindow: readonly { readonly time: number; readonly numTokens: number }[];
  readonly startedTime: number;
  /** Rounds finished since the start of this process, and when the first of them began: for the time left. */
  readonly roundsDone: number;
  readonly message: string | undefined;
  readonly finished: boolean;
}

export interface LiveArm {
  readonly name: string;
  readonly numRounds: number;
  readonly round: number;
  readonly status: "waiting" | "running" | "evaluating" | "done";
  readonly trainLoss: number | undefined;
  readonly heldOutLoss: number | undefined;
  readonly exactMatch: number | undefined;
  /** Of preference training, on held-out pairs; then the held-out loss is that of DPO. */
  readonly rewardAccuracy: number | undefined;
}

export interface LiveClient {
  readonly clientId: string;
  readonly status: "waiting" | "running" | "done" | "failed";
  readonly step: number;
  readonly localSteps: number | undefined;
  readonly loss: number | undefined;
}

/** How far back the speed looks, in milliseconds: long enough to be calm, short enough to follow an arm's change. */
const SPEED_WINDOW_MS = 10_000;

/** The state before any event; `time` in milliseconds of any monotonic clock. */
export function initialLiveState(time: number): LiveState {
  return {
    name: "",
    runFolder: "",
    arms: [],
    activeArm: undefined,
    clients: [],
    tokenWindow: [],
    startedTime: time,
    roundsDone: 0,
    message: undefined,
    finished: false,
  };
}

/** The state after one more event at `time`. Of several arms at work the clients of one are shown, the latest to begin. */
export function reduceLiveState(state: LiveState, event: RunEvent, time: number): LiveState {
  const next = reduceEvent(state, event, time);
  const isOfOther = "arm" in event && event.event !== "arm_started" && state.activeArm !== undefined && indexOfArm(state, event.arm) !== state.activeArm;
  return isOfOther ? { ...next, clients: state.clients } : next;
}

function reduceEvent(state: LiveState, event: RunEvent, time: number): LiveState {
  switch (event.event) {
    case "run_started":
      return {
        ...state,
        name: event.name,
        runFolder: event.runFolder,
        arms: event.arms.map((arm) => ({
          name: arm.name,
          numRounds: arm.numRounds,
          round: 0,
          status: "waiting",
          trainLoss: undefined,
          heldOutLoss: undefined,
          exactMatch: undefined,
          rewardAccuracy: undefined,
        })),
      };
    case "arm_started":
      return {
        ...changeArm(state, event.arm, { status: "running", round: event.round }),
        activeArm: indexOfArm(state, event.arm),
        clients: [],
      };
    case "arm_skipped":
    case "arm_finished":
      return changeArm(state, event.arm, (arm) => ({ status: "done", round: arm.numRounds }));
    case "round_started":
      return {
        ...changeArm(state, event.arm, { status: "running", round: event.round }),
        clients: event.clientIds.map((clientId) => ({
          clientId,
          status: "waiting",
          step: 0,
          localSteps: undefined,
          loss: undefined,
        })),
      };
    case "round_finished":
      return {
        ...changeArm(state, event.arm, { trainLoss: event.trainLoss }),
        roundsDone: state.roundsDone + 1,
      };
    case "server_step":
      return { ...state, message: `aligning the emulator: step ${String(event.step)} of ${String(event.localSteps)}, loss ${event.loss.toPrecision(3)}` };
    case "server_trained":
      return { ...state, message: undefined };
    case "client_started":
      return changeClient(state, event.clientId, { status: "running" });
    case "client_step": {
      const { step, localSteps, loss } = event;
      const recent = state.tokenWindow.filter((entry) => time - entry.time <= SPEED_WINDOW_MS);
      const tokenWindow = [...recent, { time, numTokens: event.numTokens }];
      return { ...changeClient(state, event.clientId, { status: "running", step, localSteps, loss }), tokenWindow };
    }
    case "client_finished":
      return {
        ...changeClient(state, event.clientId, { status: "done" }),
        ...(event.fellBack === true ? { message: `memory ran out once at client ${event.clientId}; a leaner plan took over` } : {}),
      };
    case "client_failed":
      return { ...changeClient(state, event.clientId, { status: "failed" }), message: event.message };
    case "evaluating":
      return {
        ...changeArm(state, event.arm, { status: "evaluating" }),
        message: `scoring held-out samples: ${String(event.done)} of ${String(event.total)} adapters`,
      };
    case "evaluated":
      return {
        ...changeArm(state, event.arm, (arm) => ({
          status: arm.status === "evaluating" ? "running" : arm.status,
          heldOutLoss: event.metrics["heldout_loss"] ?? event.metrics["heldout_dpo_loss"],
          exactMatch: event.metrics["heldout_exact_match"],
          rewardAccuracy: event.metrics["heldout_reward_accuracy"],
        })),
        message: undefined,
      };
    case "benchmarking":
      return {
        ...changeArm(state, event.arm, { status: "evaluating" }),
        message: `${event.metric} of ${event.subject}: ${event.phase} ${String(event.done)} of ${String(event.total)}`,
      };
    case "benchmarked":
      return { ...changeArm(state, event.arm, { status: "running" }), message: undefined };
    case "fine_tuned":
      return { ...state, message: `fine-tuning clients: ${String(event.done)} of ${String(event.total)}` };
    case "warning":
      return { ...state, message: event.message };
    case "model_ready":
      return { ...state, message: event.made ? `made ${event.precision} weights` : undefined };
    case "data_loaded":
      return state;
    case "run_finished":
    case "run_stopped":
      return { ...state, finished: true, message: undefined };
  }
}

/** Computed tokens per second over the last seconds; undefined before two steps are known. */
export function tokensPerSecond(state: LiveState): number | undefined {
  const first = state.tokenWindow[0];
  const last = state.tokenWindow.at(-1);
  if (first === undefined || last === undefined || last.time <= first.time) return undefined;
  const numTokens = state.tokenWindow.slice(1).reduce((sum, entry) => sum + entry.numTokens, 0);
  return (numTokens * 1000) / (last.time - first.time);
}

/** Milliseconds left, from the mean time of the rounds done so far; undefined before the first. */
export function timeLeft(state: LiveState, time: number): number | undefined {
  if (state.roundsDone === 0) return undefined;
  const left = state.arms.reduce((sum, arm) => {
    const done = arm.status === "waiting" ? 0 : arm.status === "done" ? arm.numRounds : Math.max(0, arm.round - 1);
    return sum + arm.numRounds - done;
  }, 0);
  return (left * (time - state.startedTime)) / state.roundsDone;
}

function indexOfArm(state: LiveState, name: string): number | undefined {
  const index = state.arms.findIndex((arm) => arm.name === name);
  return index < 0 ? undefined : index;
}

function changeArm(
  state: LiveState,
  name: string,
  change: Partial<LiveArm> | ((arm: LiveArm) => Partial<LiveArm>),
): LiveState {
  const arms = state.arms.map((arm) =>
    arm.name === name ? { ...arm, ...(typeof change === "function" ? change(arm) : change) } : arm,
  );
  return { ...state, arms };
}

function changeClient(state: LiveState, clientId: string, change: Partial<LiveClient>): LiveState {
  const clients = state.clients.map((client) => (client.clientId === clientId ? { ...client, ...change } : client));
  return { ...state, clients };
}
