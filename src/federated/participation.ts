/**
 * Who of a cohort answers, and when, on the simulated clock: decided before anybody trains, from the seed, the devices and
 * the counts of tokens and bytes. So nothing is trained that would not count, and a resumed round decides alike.
 */
import { compareIds } from "../adapter/weights.js";
import type { ErrorCode } from "../errors.js";
import { uniform } from "../util/random.js";
import { workDuration, type DeviceProfile, type Work } from "./devices.js";

/** How a server deals with clients that are slow or fail. */
export interface Participation {
  /** So many times the wanted clients are asked, and the first answers count; 1: exactly as many. */
  readonly overSelection: number;
  /** Simulated time after which the server stops waiting for a client; absent: it waits. */
  readonly timeoutMs?: number;
  /** Real time after which a client's training is stopped, each time it is asked; then runs do not repeat. Absent: it takes its time. */
  readonly wallClockTimeoutMs?: number;
  /** How often a client is asked in a round until it answers. */
  readonly attempts: number;
  /** The machine of a client; absent: there is no simulated clock. */
  readonly deviceOf?: (clientId: string) => DeviceProfile;
  /** What training needs at a client with this device; absent: nobody's memory is checked. */
  readonly memoryBytesNeeded?: (device: DeviceProfile) => number;
}

export const EVERYBODY_ANSWERS: Participation = { overSelection: 1, attempts: 1 };

/** One client of the cohort and its work. */
export interface Candidate {
  readonly clientId: string;
  readonly work: Work;
}

/** What the simulated clock has for one client. */
export interface Appointment {
  readonly device: string;
  /** From the start of the round until the client answered or the server gave it up. */
  readonly simulatedDurationMs: number;
  readonly numAttempts: number;
  /** Why it does not count; absent: it answers in time. */
  readonly refusal?: { readonly code: ErrorCode; readonly message: string };
}

export interface RoundSchedule {
  readonly appointments: ReadonlyMap<string, Appointment>;
  /** Until the server goes on. */
  readonly simulatedDurationMs: number;
}

/** The schedule of a round in which `numWanted` answers are enough. */
export function scheduleRound(
  candidates: readonly Candidate[],
  numWanted: number,
  draw: { readonly seed: number; readonly round: number },
  participation: Participation & Required<Pick<Participation, "deviceOf">>,
): RoundSchedule {
  const answers = candidates.map((candidate) => [candidate.clientId, appoint(candidate, draw, participation)] as const);
  const inTime = answers
    .filter(([, { refusal }]) => refusal === undefined)
    .sort(([leftId, left], [rightId, right]) => left.simulatedDurationMs - right.simulatedDurationMs || compareIds(leftId, rightId));
  const last = inTime[numWanted - 1];
  if (last === undefined) {
    return { appointments: new Map(answers), simulatedDurationMs: Math.max(0, ...answers.map(([, answer]) => answer.simulatedDurationMs)) };
  }
  const end = last[1].simulatedDurationMs;
  const counted = new Set(inTime.slice(0, numWanted).map(([clientId]) => clientId));
  const appointments = answers.map(([clientId, answer]) => {
    if (counted.has(clientId)) return [clientId, answer] as const;
    return [clientId, { ...answer, ...cutOff(answer, end, numWanted) }] as const;
  });
  return { appointments: new Map(appointments), simulatedDurationMs: end };
}

/** A client that did not make it before the round ended. */
function cutOff(answer: Appointment, end: number, numWanted: number): Partial<Appointment> {
  if (answer.refusal !== undefined && answer.simulatedDurationMs <= end) return {};
  const message = `the round ended with ${String(numWanted)} answers after ${seconds(end)}, this one would have come later`;
  return { simulatedDurationMs: end, refusal: { code: "CLIENT_LATE", message } };
}

/** What the clock has for one client that is asked now. */
export function appoint(
  { clientId, work }: Candidate,
  { seed, round }: { readonly seed: number; readonly round: number },
  { deviceOf, timeoutMs = Number.POSITIVE_INFINITY, attempts, memoryBytesNeeded }: Parameters<typeof scheduleRound>[3],
): Appointment {
  const device = deviceOf(clientId);
  const needed = memoryBytesNeeded?.(device) ?? 0;
  if (device.memoryBytes !== undefined && device.memoryBytes < needed) {
    const message = `${device.name} has ${String(device.memoryBytes)} bytes of memory, the base model's weights need ${String(needed)}`;
    return { device: device.name, simulatedDurationMs: 0, numAttempts: 0, refusal: { code: "OUT_OF_MEMORY", message } };
  }
  const whole = workDuration(device, work);
  let simulatedDurationMs = 0;
  for (let attempt = 1; attempt <= attempts; attempt++) {
    const breaksOff = uniform(seed, "client failure", round, clientId, attempt) < device.failureProbability;
    simulatedDurationMs += breaksOff ? whole * uniform(seed, "client failure time", round, clientId, attempt) : whole;
    if (simulatedDurationMs > timeoutMs) {
      const message = `no answer within ${seconds(timeoutMs)}`;
      return { device: device.name, simulatedDurationMs: timeoutMs, numAttempts: attempt, refusal: { code: "CLIENT_TIMEOUT", message } };
    }
    if (!breaksOff) return { device: device.name, simulatedDurationMs, numAttempts: attempt };
  }
  const message = `broke off in each of ${String(attempts)} attempts`;
  return { device: device.name, simulatedDurationMs, numAttempts: attempts, refusal: { code: "CLIENT_UNAVAILABLE", message } };
}

function seconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1)} s of simulated time`;
}
