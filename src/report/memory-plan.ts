/** A memory plan in words. */
import type { NativeMemoryPlan } from "../native/binding.js";
import { formatBytes } from "./format.js";

/** How a step is computed and what each part of it takes, in one line. */
export function describeMemoryPlan(plan: NativeMemoryPlan): string {
  const { parts } = plan;
  const ways = [
    `micro-batches of ${String(plan.microBatchTokens)} tokens`,
    plan.streams ? "weights streamed layer by layer" : undefined,
    plan.recomputes ? "layers computed again" : "everything kept",
    plan.transposes === "none" ? undefined : `weights' transposes stored in ${plan.transposes}`,
    `${String(plan.headChunk)} rows of logits at once`,
  ];
  const sizes = [
    `weights ${formatBytes(parts.weights)}`,
    `adapter ${formatBytes(parts.adapter + parts.vectors)}`,
    `activations ${formatBytes(parts.activations + parts.checkpoints)}`,
    `scratch ${formatBytes(parts.scratch + parts.descriptions)}`,
    ...(parts.mapped === 0 ? [] : [`pages of the file ${formatBytes(parts.mapped)}`]),
    `program ${formatBytes(parts.process)}`,
  ];
  const limit = `needs ${formatBytes(plan.neededBytes)} of ${formatBytes(plan.limitBytes)} allowed`;
  return `${ways.filter((way) => way !== undefined).join(", ")}; ${sizes.join(", ")}; ${limit}`;
}
