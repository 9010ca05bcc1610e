/**
 * Ctrl-C: the first asks the run to stop (it saves its state and says how to resume), the second ends the process at
 * once. SIGTERM and a hung-up terminal count as a first Ctrl-C. A closed standard output ends quietly.
 */
import { setMaxListeners } from "node:events";
import { FedllmError } from "../errors.js";

/** 128 + SIGINT, as shells report it. */
export const EXIT_INTERRUPTED = 130;

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Interrupt {
  readonly signal: AbortSignal;
  /** Stops listening, so that the process ends when its work does. */
  dispose(): void;
}

/** Starts listening. `onFirst` is told once, `onSecond` right before the process ends: it must be synchronous. */
export function listenForInterrupt(actions: { onFirst: () => void; onSecond: () => void }): Interrupt {
  const controller = new AbortController();
  // Many requests may wait for it at once.
  setMaxListeners(0, controller.signal);
  const handle = () => {
    if (controller.signal.aborted) {
      actions.onSecond();
      process.exit(EXIT_INTERRUPTED);
    }
    controller.abort(new FedllmError("CANCELLED", "the run was interrupted"));
    actions.onFirst();
  };
  for (const name of SIGNALS) process.on(name, handle);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of SIGNALS) process.off(name, handle);
    },
  };
}

/**
 * A reader such as `head` may close the pipe early. Nobody reads any more, so the process ends the way the system's own
 * tools do: silently. A run that ends so is resumable, since it is checkpointed after each round.
 */
export function endOnClosedPipe(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE" || error.code === "ERR_STREAM_DESTROYED") process.exit(0);
      throw error;
    });
  }
}
