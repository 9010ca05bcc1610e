/**
 * Clients that are at work between two updates of an asynchronous server, as a part of the server's state: so a checkpoint
 * holds them, with the weights that were sent to them, and a resumed run ends as one that was never interrupted.
 */
import { assert } from "../util/assert.js";
import type { NamedState } from "./protocol.js";

/** One client at work. */
export interface InFlight {
  readonly clientId: string;
  /** The server's update after which it was sent its weights; 0: the initial adapter. */
  readonly version: number;
  /** On the simulated clock. */
  readonly finishMs: number;
  readonly sentWeights: Float32Array;
}

/** The state of an asynchronous server in its parts. */
export interface AsynchronousState {
  /** What the strategy knows. */
  readonly own: NamedState;
  readonly simulatedMs: number;
  readonly inFlight: readonly InFlight[];
}

/** Names that strategies do not use; what follows them is a client's id or a version. */
const CLOCK = "simulated clock";
const FINISH = "in flight until ";
const VERSION = "in flight from ";
const SENT = "sent weights ";

const isOurs = (name: string): boolean => name === CLOCK || [FINISH, VERSION, SENT].some((start) => name.startsWith(start));

/** The parts of a state that joinState made, or of a strategy's first one. */
export function splitState({ arrays, numbers }: NamedState): AsynchronousState {
  const clientIds = Object.keys(numbers).flatMap((name) => (name.startsWith(FINISH) ? [name.slice(FINISH.length)] : []));
  return {
    own: { arrays: withoutOurs(arrays), numbers: withoutOurs(numbers) },
    simulatedMs: numbers[CLOCK] ?? 0,
    inFlight: clientIds.map((clientId) => {
      const version = numbers[VERSION + clientId];
      const finishMs = numbers[FINISH + clientId];
      const sentWeights = arrays[SENT + String(version)];
      assert(version !== undefined && finishMs !== undefined && sentWeights !== undefined, "a client at work is stored whole");
      return { clientId, version, finishMs, sentWeights };
    }),
  };
}

/** One state for the checkpoint; clients of one version share its weights. */
export function joinState({ own, simulatedMs, inFlight }: AsynchronousState): NamedState {
  const sent = new Map(inFlight.map(({ version, sentWeights }) => [SENT + String(version), sentWeights]));
  const numbers = inFlight.flatMap(({ clientId, version, finishMs }) => [
    [VERSION + clientId, version] as const,
    [FINISH + clientId, finishMs] as const,
  ]);
  return {
    arrays: { ...own.arrays, ...Object.fromEntries(sent) },
    numbers: { ...own.numbers, [CLOCK]: simulatedMs, ...Object.fromEntries(numbers) },
  };
}

function withoutOurs<T>(values: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(values).filter(([name]) => !isOurs(name)));
}
