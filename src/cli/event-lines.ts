/** One plain line per run event, for logs and pipes; undefined for events too frequent for a log. */
import { formatBytes, formatCount, formatDuration, formatPercent, printable } from "../report/format.js";
import type { RunEvent } from "../run/events.js";

/** The plan's prediction was wrong or something else took the memory; results are the client's all the same. */
const FELL_BACK = "; memory ran out once, and a leaner plan took over";

/** The line of an event, without a time and without a line break. */
export function describeEvent(event: RunEvent): string | undefined {
  const line = lineOf(event);
  return line === undefined ? undefined : printable(line);
}

function lineOf(event: RunEvent): string | undefined {
  switch (event.event) {
    case "run_started":
      return `${event.resumed ? "resuming" : "run"} ${event.name}: ${String(event.arms.length)} arms, folder ${event.runFolder}`;
    case "data_loaded":
      return (
        `data: ${String(event.numClients)} clients, ${formatCount(event.numSamples)} training and ` +
        `${formatCount(event.numHeldOut)} held-out samples; ${String(event.numTruncated)} truncated, ` +
        `${String(event.numDropped)} dropped, ${String(event.numBad)} unreadable`
      );
    case "model_ready":
      return `model: ${event.precision} ${event.made ? "made" : "found"}, ${formatBytes(event.weightBytes)} of weights, ${event.path}`;
    case "arm_started":
      return `${event.arm}: started at round ${String(event.round)}`;
    case "arm_skipped":
      return `${event.arm}: skipped, ${event.reason}`;
    case "round_started":
      return `${event.arm} round ${String(event.round)}: ${String(event.clientIds.length)} clients`;
    case "server_trained": {
      const change = (before: number, after: number) => `${before.toPrecision(3)} to ${after.toPrecision(3)}`;
      return `${event.arm} round ${String(event.round)}: emulator aligned, states ${change(event.hiddenBefore, event.hidden)}, divergence ${change(event.divergenceBefore, event.divergence)}`;
    }
    case "server_step":
    case "client_started":
    case "client_step":
    case "evaluating":
    case "benchmarking":
      return undefined;
    case "client_finished":
      return (
        `${event.arm} round ${String(event.round)} client ${event.clientId}: train loss ${event.trainLoss.toFixed(4)}${describeReward(event)}, ` +
        `${formatCount(event.numTokens)} tokens in ${formatDuration(event.durationMs)}${event.fellBack === true ? FELL_BACK : ""}`
      );
    case "client_failed":
      return `${event.arm} round ${String(event.round)} client ${event.clientId}: failed, ${event.code}: ${event.message}`;
    case "round_finished": {
      const loss = event.trainLoss === undefined ? "" : `, train loss ${event.trainLoss.toFixed(4)}`;
      return `${event.arm} round ${String(event.round)}: ${String(event.numUpdates)} updates${loss}${describeReward(event)} in ${formatDuration(event.durationMs)}`;
    }
    case "evaluated":
      return `${event.arm} round ${String(event.round)}: ${describeMetrics(event.metrics)}`;
    case "benchmarked": {
      const measures = Object.entries(event.measures).map(([measure, mean]) => `${measure} ${mean.toPrecision(4)}`);
      return `${event.arm} round ${String(event.round)}: ${event.metric} of ${event.subject}: ${measures.length === 0 ? "no scores" : measures.join(", ")}`;
    }
    case "fine_tuned":
      return `${event.arm}: client ${event.clientId} fine-tuned, ${String(event.done)} of ${String(event.total)}`;
    case "arm_finished":
      return `${event.arm}: finished, ${String(event.adapters)} ${event.adapters === 1 ? "adapter" : "adapters"} saved`;
    case "warning":
      return `warning: ${event.message}`;
    case "run_finished":
      return `finished in ${formatDuration(event.durationMs)}: ${event.runFolder}`;
    case "run_stopped":
      return `stopped (${event.reason}): ${event.message}`;
  }
}

/** Of preference training, while it trains. */
function describeReward({ rewardAccuracy }: { readonly rewardAccuracy?: number }): string {
  return rewardAccuracy === undefined ? "" : `, reward accuracy ${formatPercent(rewardAccuracy)}`;
}

function describeMetrics(metrics: Readonly<Record<string, number>>): string {
  const loss = metrics["heldout_loss"];
  const exact = metrics["heldout_exact_match"];
  const dpoLoss = metrics["heldout_dpo_loss"];
  const accuracy = metrics["heldout_reward_accuracy"];
  const margin = metrics["heldout_reward_margin"];
  const parts = [
    ...(loss === undefined ? [] : [`held-out loss ${loss.toFixed(4)}`]),
    ...(exact === undefined ? [] : [`exact match ${formatPercent(exact)}`]),
    ...(dpoLoss === undefined ? [] : [`held-out DPO loss ${dpoLoss.toFixed(4)}`]),
    ...(accuracy === undefined ? [] : [`reward accuracy ${formatPercent(accuracy)}`]),
    ...(margin === undefined ? [] : [`reward margin ${margin.toFixed(4)}`]),
  ];
  return parts.length === 0 ? "evaluated" : parts.join(", ");
}
