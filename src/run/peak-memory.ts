/**
 * Peak resident memory per arm. Linux lets a process reset its own high-water mark (/proc/self/clear_refs, proc(5)), so
 * there each arm gets its own peak: everything resident in the process while the arm ran, tokenized data and mapped
 * weights included. Elsewhere only the peak since the start of the process is known, and the reading says so.
 */
import { readFileSync, writeFileSync } from "node:fs";

export interface PeakMemory {
  /** `arm`: since the last reset; `process`: since the process began. */
  readonly scope: "arm" | "process";
  /** Starts a new measurement where the system allows it. */
  reset(): void;
  /** Bytes. */
  read(): number;
}

/** Makes the meter of this system. */
export function createPeakMemory(): PeakMemory {
  if (!canReset()) {
    // Node counts maxRSS in kilobytes on every system.
    return { scope: "process", reset: () => undefined, read: () => process.resourceUsage().maxRSS * 1024 };
  }
  return { scope: "arm", reset: resetHighWaterMark, read: readHighWaterMark };
}

function canReset(): boolean {
  if (process.platform !== "linux") return false;
  try {
    resetHighWaterMark();
    return readHighWaterMark() > 0;
  } catch {
    return false;
  }
}

/** "5" resets VmHWM to the memory resident now. */
function resetHighWaterMark(): void {
  writeFileSync("/proc/self/clear_refs", "5");
}

function readHighWaterMark(): number {
  const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8"))?.[1];
  return kilobytes === undefined ? 0 : Number(kilobytes) * 1024;
}
