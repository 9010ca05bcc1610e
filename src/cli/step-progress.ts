/** How far a long analysis is: on a terminal one line that is written over, elsewhere a line every ten seconds. */
import { formatCount, formatDuration } from "../report/format.js";

/** A step of many equal parts, some of which were done before. */
export interface StepProgress {
  readonly step: string;
  readonly numDone: number;
  readonly numTotal: number;
  readonly numKnown: number;
}

const TERMINAL_INTERVAL_MS = 250;
const LINE_INTERVAL_MS = 10_000;

export function createStepProgress(stream: { readonly isTTY?: boolean; write(text: string): boolean } = process.stderr, now: () => number = () => performance.now()) {
  const isTerminal = stream.isTTY === true;
  let shownAt = now();
  let isShown = false;
  let current: { readonly step: string; readonly startedAt: number } | undefined;
  return {
    update: (progress: StepProgress) => {
      const time = now();
      if (current?.step !== progress.step) current = { step: progress.step, startedAt: time };
      if (time - shownAt < (isTerminal ? TERMINAL_INTERVAL_MS : LINE_INTERVAL_MS)) return;
      shownAt = time;
      isShown = true;
      const line = describeStep(progress, time - current.startedAt);
      stream.write(isTerminal ? `\r\u001b[K${line}` : `${line}\n`);
    },
    finish: () => {
      if (isShown && isTerminal) stream.write("\r\u001b[K");
    },
  };
}

function describeStep({ step, numDone, numTotal, numKnown }: StepProgress, elapsedMs: number): string {
  const numComputed = numDone - numKnown;
  const rest = numComputed === 0 || numDone === numTotal ? "" : `, ${formatDuration((elapsedMs / numComputed) * (numTotal - numDone))} left`;
  const known = numKnown === 0 ? "" : ` (${formatCount(numKnown)} known before)`;
  return `${step} ${formatCount(numDone)} of ${formatCount(numTotal)}${known}${rest}`;
}
