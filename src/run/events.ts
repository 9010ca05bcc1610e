/**
 * What a run reports while it goes: plain values, one per happening. The command line draws them, `--json` prints them
 * unchanged, and a program that embeds the library reads them. Times are left to whoever prints.
 */

export type RunEvent =
  | { readonly event: "run_started"; readonly runFolder: string; readonly name: string; readonly arms: readonly ArmPlan[]; readonly resumed: boolean }
  | { readonly event: "data_loaded"; readonly numClients: number; readonly numSamples: number; readonly numHeldOut: number; readonly numTruncated: number; readonly numDropped: number; readonly numBad: number }
  | { readonly event: "model_ready"; readonly precision: string; readonly path: string; readonly weightBytes: number; readonly made: boolean }
  | { readonly event: "arm_started"; readonly arm: string; readonly round: number }
  | { readonly event: "arm_skipped"; readonly arm: string; readonly reason: string }
  | { readonly event: "round_started"; readonly arm: string; readonly round: number; readonly clientIds: readonly string[] }
  | { readonly event: "server_step"; readonly arm: string; readonly round: number; readonly step: number; readonly localSteps: number; readonly loss: number }
  | { readonly event: "server_trained"; readonly arm: string; readonly round: number; readonly hiddenBefore: number; readonly hidden: number; readonly divergenceBefore: number; readonly divergence: number }
  | { readonly event: "client_started"; readonly arm: string; readonly round: number; readonly clientId: string }
  | { readonly event: "client_step"; readonly arm: string; readonly round: number; readonly clientId: string; readonly step: number; readonly localSteps: number; readonly loss: number; readonly numTokens: number }
  | { readonly event: "client_finished"; readonly arm: string; readonly round: number; readonly clientId: string; readonly numTokens: number; readonly trainLoss: number; readonly rewardAccuracy?: number; readonly durationMs: number; readonly fellBack?: true }
  | { readonly event: "client_failed"; readonly arm: string; readonly round: number; readonly clientId: string; readonly code: string; readonly message: string }
  | { readonly event: "round_finished"; readonly arm: string; readonly round: number; readonly durationMs: number; readonly numUpdates: number; readonly trainLoss: number | undefined; readonly rewardAccuracy?: number }
  | { readonly event: "evaluating"; readonly arm: string; readonly round: number; readonly done: number; readonly total: number }
  | { readonly event: "evaluated"; readonly arm: string; readonly round: number; readonly metrics: Readonly<Record<string, number>> }
  | { readonly event: "benchmarking"; readonly arm: string; readonly round: number; readonly subject: string; readonly metric: string; readonly phase: "answers" | "scores"; readonly done: number; readonly total: number }
  | { readonly event: "benchmarked"; readonly arm: string; readonly round: number; readonly subject: string; readonly metric: string; readonly measures: Readonly<Record<string, number>> }
  | { readonly event: "fine_tuned"; readonly arm: string; readonly clientId: string; readonly done: number; readonly total: number }
  | { readonly event: "arm_finished"; readonly arm: string; readonly adapters: number }
  | { readonly event: "warning"; readonly message: string }
  | { readonly event: "run_finished"; readonly runFolder: string; readonly durationMs: number }
  | { readonly event: "run_stopped"; readonly runFolder: string; readonly reason: "interrupted" | "failed"; readonly message: string };

/** What is known about an arm before it starts. */
export interface ArmPlan {
  readonly name: string;
  readonly precision: string;
  readonly strategy: string;
  readonly numRounds: number;
}

/** Receives events in order; must not throw. */
export type RunListener = (event: RunEvent) => void;
