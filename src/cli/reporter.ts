/**
 * Shows a run's events in the mode that fits: a live table on a terminal, plain lines elsewhere, JSON lines on request
 * (then human text goes to stderr), or nothing. What a frame looks like is live-view.ts, what a line says event-lines.ts.
 */
import { readEnvironment } from "../config/environment.js";
import type { RunEvent, RunListener } from "../run/events.js";
import { describeEvent } from "./event-lines.js";
import { initialLiveState, reduceLiveState } from "./live-state.js";
import { renderLiveView } from "./live-view.js";
import { RedrawingBlock } from "./terminal.js";
import type { TerminalStream } from "./terminal.js";

export type OutputMode = "live" | "lines" | "json" | "quiet";

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

export interface Reporter {
  readonly mode: OutputMode;
  readonly onEvent: RunListener;
  /** Ends drawing; the last frame stays on the screen. Safe to call twice. */
  finish(): void;
  /** A line for people: above the live table, or where human text goes in this mode. Shown even when quiet. */
  note(text: string): void;
}

/** Least time between two frames; ten a second look smooth and cost nothing beside training. */
const FRAME_INTERVAL_MS = 100;
/** Redraw without events, so that the clock does not stand still during a long step. */
const CLOCK_INTERVAL_MS = 1000;

/** Picks the mode from flags and the terminal; CI machines get lines even when they pretend to be a terminal. */
export function chooseOutputMode(options: OutputOptions): OutputMode {
  if (options.json) return "json";
  if (options.quiet) return "quiet";
  return process.stdout.isTTY && !readEnvironment().isCi ? "live" : "lines";
}

/** Makes the reporter of a mode on the process's streams. */
export function createReporter(options: OutputOptions): Reporter {
  const mode = chooseOutputMode(options);
  switch (mode) {
    case "live":
      return createLiveReporter(process.stdout);
    case "json":
      return createJsonReporter(options.quiet);
    case "lines":
      return createLineReporter();
    case "quiet":
      return { mode, onEvent: () => undefined, finish: () => undefined, note: writeError };
  }
}

function createLineReporter(): Reporter {
  return {
    mode: "lines",
    onEvent: (event) => {
      const line = describeEvent(event);
      if (line !== undefined) process.stdout.write(`${line}\n`);
    },
    finish: () => undefined,
    note: writeError,
  };
}

function createJsonReporter(quiet: boolean): Reporter {
  return {
    mode: "json",
    onEvent: (event) => {
      process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), ...event })}\n`);
      const line = quiet ? undefined : describeEvent(event);
      if (line !== undefined) writeError(line);
    },
    finish: () => undefined,
    note: writeError,
  };
}

function writeError(text: string): void {
  process.stderr.write(`${text}\n`);
}

function createLiveReporter(stream: TerminalStream): Reporter {
  const block = new RedrawingBlock(stream);
  const color = !readEnvironment().noColor;
  let state = initialLiveState(performance.now());
  let lastFrame = Number.NEGATIVE_INFINITY;
  let isOpen = true;
  const draw = () => {
    lastFrame = performance.now();
    block.draw(renderLiveView(state, { ...block.size, color }, lastFrame));
  };
  const clock = setInterval(draw, CLOCK_INTERVAL_MS);
  clock.unref();
  return {
    mode: "live",
    onEvent: (event) => {
      if (!isOpen) return;
      const now = performance.now();
      state = reduceLiveState(state, event, now);
      if (isLasting(event)) block.printAbove(describeEvent(event) ?? "");
      if (now - lastFrame >= FRAME_INTERVAL_MS) draw();
    },
    finish: () => {
      if (!isOpen) return;
      isOpen = false;
      clearInterval(clock);
      draw();
      block.finish();
    },
    note: (text) => {
      if (isOpen) block.printAbove(text);
      else writeError(text);
    },
  };
}

/** Events worth a line that stays on the screen after the table has moved on. */
function isLasting(event: RunEvent): boolean {
  return event.event === "client_failed" || event.event === "warning";
}
