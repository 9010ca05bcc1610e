/**
 * Power that a program prints again and again, summed up to energy: nvidia-smi for NVIDIA's cards, powermetrics for Apple's chips. A program that
 * is not there, may not do it or prints something else tells nothing.
 */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { EnergyCounter } from "./energy.js";

const SAMPLE_MS = 500;
/** After so long without a sample the last power no longer counts as known. */
const HOLD_MS = 5 * SAMPLE_MS;

interface PowerProgram {
  readonly source: string;
  readonly kind: EnergyCounter["kind"];
  readonly command: string;
  readonly args: readonly string[];
  /** Part of the machine and its power in watts; undefined for a line that says nothing of it. */
  readonly parse: (line: string) => { readonly part: string; readonly watts: number } | undefined;
}

/** Cards by nvidia-smi. */
export function openNvidiaPower(command = "nvidia-smi"): EnergyCounter {
  const args = ["--query-gpu=index,power.draw", "--format=csv,noheader,nounits", `--loop-ms=${String(SAMPLE_MS)}`];
  return openPowerProgram({ source: "nvidia-smi", kind: "gpuJoules", command, args, parse: parseNvidiaLine });
}

/** The chip by powermetrics, which needs the superuser; undefined elsewhere. */
export function openPowermetrics(): EnergyCounter | undefined {
  if (process.platform !== "darwin" || process.getuid?.() !== 0) return undefined;
  return openPowerProgram({ source: "powermetrics", kind: "cpuJoules", command: "powermetrics", args: ["--samplers", "cpu_power", "-i", String(SAMPLE_MS)], parse: parsePowermetricsLine });
}

/** "0, 71.23"; "[N/A]" for cards that do not tell. */
export function parseNvidiaLine(line: string) {
  const [, part, watts] = /^\s*(\d+),\s*(\d+(?:\.\d+)?)\s*$/u.exec(line) ?? [];
  return part === undefined ? undefined : { part, watts: Number(watts) };
}

/** "Combined Power (CPU + GPU + ANE): 1234 mW". */
export function parsePowermetricsLine(line: string) {
  const [, milliwatts] = /^Combined Power \(.*\): (\d+) mW/u.exec(line) ?? [];
  return milliwatts === undefined ? undefined : { part: "chip", watts: Number(milliwatts) / 1000 };
}

interface PartPower {
  readonly watts: number;
  readonly sampledMs: number;
  /** Until when its energy is in the sum. */
  countedMs: number;
}

/** Sums up power by time; each sample holds until the next one, but not longer than a few of them should take. */
export class PowerSum {
  readonly #parts = new Map<string, PartPower>();
  #joules = 0;

  /** Times in milliseconds, never going back. */
  add(part: string, watts: number, atMs: number): void {
    this.#advance(part, atMs);
    this.#parts.set(part, { watts, sampledMs: atMs, countedMs: atMs });
  }

  /** Up to now; undefined before the first sample. */
  joules(nowMs: number): number | undefined {
    if (this.#parts.size === 0) return undefined;
    for (const part of this.#parts.keys()) this.#advance(part, nowMs);
    return this.#joules;
  }

  #advance(part: string, toMs: number): void {
    const last = this.#parts.get(part);
    if (last === undefined) return;
    const until = Math.max(last.countedMs, Math.min(toMs, last.sampledMs + HOLD_MS));
    this.#joules += (last.watts * (until - last.countedMs)) / 1000;
    last.countedMs = until;
  }
}

function openPowerProgram({ source, kind, command, args, parse }: PowerProgram): EnergyCounter {
  const sum = new PowerSum();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "ignore"] });
  // A program that is not there is no failure of the run.
  child.on("error", () => undefined);
  createInterface({ input: child.stdout }).on("line", (line) => {
    const sample = parse(line);
    if (sample !== undefined) sum.add(sample.part, sample.watts, performance.now());
  });
  child.unref();
  return {
    source,
    kind,
    joules: () => sum.joules(performance.now()),
    dispose: () => {
      child.kill();
    },
  };
}
