/**
 * Which layers an emulator keeps, and where the adapter sits in it and in the full model. The adapter's layers are the first
 * and last ones (offsite tuning, Xiao et al. 2023: both; FedBiOT, Wu et al. 2024: the last alone); of the M layers between,
 * m = round(M (1 - dropRate)) stay, evenly spread, the first and the last of them always: floor(i (M - 1) / (m - 1)).
 * Weights of an adapter need no mapping: both layouts have the same tensors in the same order, only under other layer numbers.
 */
import { problemError } from "../errors.js";

export interface EmulatorShape {
  /** Layers at the bottom that have an adapter. */
  readonly firstLayers: number;
  /** Layers at the top that have one. */
  readonly lastLayers: number;
  /** Part of the layers between that is left out, 0 <= dropRate < 1. */
  readonly dropRate: number;
}

/** All lists ascend. */
export interface EmulatorLayers {
  /** Layers of the full model that the emulator has; layer i of the emulator is layer kept[i] of the model. */
  readonly kept: readonly number[];
  /** The adapter's layers by the emulator's numbers. */
  readonly inEmulator: readonly number[];
  /** The same by the full model's numbers. */
  readonly inFullModel: readonly number[];
}

/** Throws CONFIG_INVALID for numbers out of bounds, and when nothing would lie between the adapter's layers, before or after dropping, and without adapter's layers. */
export function emulatorLayers(numLayers: number, { firstLayers, lastLayers, dropRate }: EmulatorShape): EmulatorLayers {
  checkShape({ firstLayers, lastLayers, dropRate });
  const between = numLayers - firstLayers - lastLayers;
  if (firstLayers + lastLayers < 1 || between < 1) {
    throw problemError("CONFIG_INVALID", {
      subject: "firstLayers and lastLayers",
      expected: `together 1 to ${String(numLayers - 1)} of the model's ${String(numLayers)} layers`,
      received: `${String(firstLayers)} and ${String(lastLayers)}`,
    });
  }
  const numKept = Math.round(between * (1 - dropRate));
  if (numKept < 1) {
    throw problemError("CONFIG_INVALID", {
      subject: "dropRate",
      expected: `one that leaves a layer of the ${String(between)} between the adapter's`,
      received: String(dropRate),
    });
  }
  const first = range(0, firstLayers);
  const middle = spread(between, numKept).map((layer) => firstLayers + layer);
  const last = range(numLayers - lastLayers, lastLayers);
  return {
    kept: [...first, ...middle, ...last],
    inEmulator: [...first, ...range(firstLayers + numKept, lastLayers)],
    inFullModel: [...first, ...last],
  };
}

function checkShape({ firstLayers, lastLayers, dropRate }: EmulatorShape): void {
  for (const [subject, count] of [["firstLayers", firstLayers], ["lastLayers", lastLayers]] as const) {
    if (Number.isSafeInteger(count) && count >= 0) continue;
    throw problemError("CONFIG_INVALID", { subject, expected: "a whole number of at least 0", received: String(count) });
  }
  if (dropRate >= 0 && dropRate < 1) return;
  throw problemError("CONFIG_INVALID", { subject: "dropRate", expected: "a number from 0 to below 1", received: String(dropRate) });
}

/** A single one is the middle: the formula divides by zero there. */
function spread(count: number, numKept: number): readonly number[] {
  if (numKept === 1) return [Math.floor((count - 1) / 2)];
  return range(0, numKept).map((i) => Math.floor((i * (count - 1)) / (numKept - 1)));
}

function range(start: number, count: number): readonly number[] {
  return Array.from({ length: count }, (_, i) => start + i);
}
