/**
 * Energy of the machine while rounds run, where the system tells: processor packages and memory by the counters of Linux's powercap (RAPL),
 * NVIDIA's cards by nvidia-smi, Apple's chips by powermetrics for the superuser. Everything that the machine does counts, other programs
 * included. Where nobody tells, nothing is recorded: an estimate would look like a measurement.
 */
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { EnergyColumns } from "../metrics/rows.js";
import { openNvidiaPower, openPowermetrics } from "./power-samples.js";

const POWERCAP_FOLDER = "/sys/class/powercap";
/** Counters of 32 bits run over within ten minutes at 100 W; a look every half minute misses no turn. */
const LOOK_EVERY_MS = 30_000;
const MICROJOULES = 1e6;

export interface EnergyMeter {
  /** Since the call before, or since the meter was made; undefined where nobody tells. */
  read(): EnergyColumns | undefined;
  dispose(): void;
}

/** Something that counts joules from when it was opened. */
export interface EnergyCounter {
  readonly source: string;
  readonly kind: "cpuJoules" | "gpuJoules";
  /** Grows; undefined until, or where, it tells nothing. */
  joules(): number | undefined;
  dispose(): void;
}

export interface EnergyMeterOptions {
  /** Whether cards compute; otherwise they are not asked. */
  readonly usesCards: boolean;
}

/** Opens the counters of this system. */
export function createEnergyMeter({ usesCards }: EnergyMeterOptions): EnergyMeter {
  return meterOf([openRapl(POWERCAP_FOLDER), openPowermetrics(), usesCards ? openNvidiaPower() : undefined].filter((counter) => counter !== undefined));
}

/** A meter over counters; it owns them. */
export function meterOf(counters: readonly EnergyCounter[]): EnergyMeter {
  const before = new Map(counters.map((counter) => [counter, counter.joules() ?? 0]));
  return {
    read: () => {
      const told = counters.flatMap((counter) => {
        const now = counter.joules();
        if (now === undefined) return [];
        const joules = now - (before.get(counter) ?? 0);
        before.set(counter, now);
        return [{ counter, joules }];
      });
      if (told.length === 0) return undefined;
      const sums = new Map<EnergyCounter["kind"], number>();
      for (const { counter, joules } of told) sums.set(counter.kind, (sums.get(counter.kind) ?? 0) + joules);
      return { ...Object.fromEntries(sums), source: told.map(({ counter }) => counter.source).join(" ") };
    },
    dispose: () => {
      for (const counter of counters) counter.dispose();
    },
  };
}

/** A domain's counter in microjoules, which begins again at 0 after its largest value. */
interface Domain {
  readonly path: string;
  readonly largest: number;
  last: number;
  total: number;
}

/**
 * Packages and the memory beside them below a powercap folder; undefined where there are none or they may not be read, which since 2020
 * is the rule for everybody but the superuser.
 */
export function openRapl(folder: string): EnergyCounter | undefined {
  const domains = listDomains(folder);
  if (domains.length === 0) return undefined;
  const look = () => {
    for (const domain of domains) {
      const now = readNumber(join(domain.path, "energy_uj")) ?? domain.last;
      domain.total += now >= domain.last ? now - domain.last : domain.largest - domain.last + now;
      domain.last = now;
    }
  };
  const timer = setInterval(look, LOOK_EVERY_MS).unref();
  return {
    source: "rapl",
    kind: "cpuJoules",
    joules: () => {
      look();
      return domains.reduce((sum, { total }) => sum + total, 0) / MICROJOULES;
    },
    dispose: () => {
      clearInterval(timer);
    },
  };
}

/** `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it; AMD's processors are there under the same names. Memory is no part of a package's count. */
function listDomains(folder: string): Domain[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return [];
  }
  return names.flatMap((name) => {
    if (!/^intel-rapl:\d+(:\d+)?$/u.test(name)) return [];
    const path = join(folder, name);
    const label = readText(join(path, "name"));
    const last = readNumber(join(path, "energy_uj"));
    const largest = readNumber(join(path, "max_energy_range_uj"));
    const counts = label !== undefined && (label.startsWith("package") || label === "dram");
    return counts && last !== undefined && largest !== undefined ? [{ path, largest, last, total: 0 }] : [];
  });
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return undefined;
  }
}

function readNumber(path: string): number | undefined {
  const text = readText(path);
  return text === undefined || !/^\d+$/u.test(text) ? undefined : Number(text);
}
