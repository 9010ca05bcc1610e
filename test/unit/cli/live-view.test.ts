/** The live table as a function of events: state by the reducer, frames by the renderer, no terminal. */
import { describe, expect, test } from "vitest";
import { describeEvent } from "../../../src/cli/event-lines.js";
import { initialLiveState, reduceLiveState, timeLeft, tokensPerSecond } from "../../../src/cli/live-state.js";
import type { LiveState } from "../../../src/cli/live-state.js";
import { renderLiveView } from "../../../src/cli/live-view.js";
import { displayWidth } from "../../../src/report/format.js";
import type { RunEvent } from "../../../src/run/events.js";

const START: RunEvent = {
  event: "run_started",
  runFolder: "/r",
  name: "demo",
  resumed: false,
  arms: [
    { name: "f16-local", precision: "F16", strategy: "local", numRounds: 2 },
    { name: "f16-fedavg", precision: "F16", strategy: "fedavg", numRounds: 4 },
  ],
};

/** Events with their times in milliseconds. */
function play(...entries: readonly (readonly [number, RunEvent])[]): LiveState {
  return entries.reduce((state, [time, event]) => reduceLiveState(state, event, time), initialLiveState(0));
}

const step = (clientId: string, number: number, numTokens: number): RunEvent => ({
  event: "client_step",
  arm: "f16-local",
  round: 1,
  clientId,
  step: number,
  localSteps: 4,
  loss: 1.5,
  numTokens,
});

const firstRound: [number, RunEvent][] = [
  [0, START],
  [0, { event: "arm_started", arm: "f16-local", round: 0 }],
  [0, { event: "round_started", arm: "f16-local", round: 1, clientIds: ["ana", "北京"] }],
  [0, { event: "client_started", arm: "f16-local", round: 1, clientId: "ana" }],
  [1000, step("ana", 1, 500)],
  [2000, step("ana", 2, 300)],
];

describe("the state after events", () => {
  test("a client whose memory ran out is named, in the table and in a log", () => {
    const finished = { event: "client_finished", arm: "f16-local", round: 1, clientId: "ana", numTokens: 10, trainLoss: 1, durationMs: 5 } as const;
    expect(play(...firstRound, [3000, finished]).message).toBeUndefined();
    expect(play(...firstRound, [3000, { ...finished, fellBack: true }]).message).toContain("memory ran out once at client ana");
    expect(describeEvent(finished)).not.toContain("memory");
    expect(describeEvent({ ...finished, fellBack: true })).toContain("memory ran out once, and a leaner plan took over");
  });

  test("speed is the tokens after the first step of the window over the time since it", () => {
    expect(tokensPerSecond(play(...firstRound))).toBe(300);
    expect(tokensPerSecond(play(...firstRound.slice(0, 5)))).toBeUndefined();
  });

  test("steps older than ten seconds leave the speed", () => {
    const state = play(...firstRound, [12_500, step("ana", 3, 100)], [13_500, step("ana", 4, 700)]);
    expect(tokensPerSecond(state)).toBe(700);
  });

  test("time left goes by the mean of the rounds done", () => {
    expect(timeLeft(play(...firstRound), 2000)).toBeUndefined();
    const finished: RunEvent = { event: "round_finished", arm: "f16-local", round: 1, durationMs: 1, numUpdates: 2, trainLoss: 1 };
    const next: RunEvent = { event: "round_started", arm: "f16-local", round: 2, clientIds: [] };
    // One of six rounds took 3 s, five are left.
    expect(timeLeft(play(...firstRound, [3000, finished], [3000, next]), 3000)).toBe(15_000);
  });

  test("a skipped arm counts as done, a failed client is marked and its message kept", () => {
    const state = play(
      ...firstRound,
      [2000, { event: "arm_skipped", arm: "f16-fedavg", reason: "finished before" }],
      [2000, { event: "client_failed", arm: "f16-local", round: 1, clientId: "ana", code: "TRAIN_DIVERGED", message: "loss is NaN" }],
    );
    expect(state.arms[1]).toMatchObject({ status: "done", round: 4 });
    expect(state.clients[0]).toMatchObject({ clientId: "ana", status: "failed" });
    expect(state.message).toBe("loss is NaN");
  });
});

describe("a frame", () => {
  const screen = { columns: 100, rows: 24, color: false };

  test("shows run, arms and clients", () => {
    const lines = renderLiveView(play(...firstRound), screen, 4000);
    expect(lines).toEqual([
      "demo  ·  4.0s gone  ·  300 tokens/s",
      "arm                           round  train loss  held-out loss  exact match",
      "f16-local   ████████░░░░░░░░    1/2                                          running",
      "f16-fedavg  ░░░░░░░░░░░░░░░░    0/4                                          waiting",
      "",
      "▸ ana 2/4 1.500   · 北京",
    ]);
  });

  test("shows the accuracy of rewards where preferences are trained", () => {
    const metrics = { heldout_dpo_loss: 0.5, heldout_reward_accuracy: 0.75 };
    const lines = renderLiveView(play(...firstRound, [3000, { event: "evaluated", arm: "f16-local", round: 1, metrics }]), screen, 4000);
    expect(lines[1]).toMatch(/held-out loss {2}reward accuracy$/);
    expect(lines[2]).toMatch(/0\.500 +75\.0% {2}running$/);
  });

  test.each([20, 40, 79])("no line is wider than %i columns", (columns) => {
    const lines = renderLiveView(play(...firstRound), { ...screen, columns }, 4000);
    expect(Math.max(...lines.map(displayWidth))).toBeLessThanOrEqual(columns);
  });

  test("many clients never take more rows than the screen has, and the rest is counted", () => {
    const clientIds = Array.from({ length: 500 }, (_, index) => `client-${String(index)}`);
    const state = play([0, START], [0, { event: "round_started", arm: "f16-local", round: 1, clientIds }]);
    const lines = renderLiveView(state, { ...screen, rows: 10 }, 0);
    expect(lines).toHaveLength(9);
    expect(lines.at(-1)).toMatch(/^… \d+ more lines$/);
  });

  test("colours only when asked for, and they do not change the text", () => {
    const state = play(...firstRound);
    const colored = renderLiveView(state, { ...screen, color: true }, 4000);
    expect(colored.join("\n")).toContain("\u001b[");
    expect(colored.map((line) => line.replaceAll(/\u001b\[\d+m/g, ""))).toEqual(renderLiveView(state, screen, 4000));
  });

  test("a client name cannot move the cursor", () => {
    const state = play([0, START], [0, { event: "round_started", arm: "f16-local", round: 1, clientIds: ["\u001b[2Jx"] }]);
    expect(renderLiveView(state, screen, 0).join("")).not.toContain("\u001b");
  });
});
