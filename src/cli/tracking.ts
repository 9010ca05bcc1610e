/** --report-to: which trackers a run's measurements go to, and the listener that sends them. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { loadConfig } from "../config/load.js";
import { readMlflowServer } from "../config/tracking-environment.js";
import { problemError } from "../errors.js";
import type { RunEvent } from "../run/events.js";
import { runPaths } from "../run/run-folder.js";
import { readRunRecord } from "../run/run-record.js";
import { csvSink } from "../tracking/csv.js";
import { mlflowSink } from "../tracking/mlflow.js";
import { SINK_NAMES } from "../tracking/sink.js";
import type { RunStatus, Sink, SinkName } from "../tracking/sink.js";
import { tensorboardSink } from "../tracking/tensorboard.js";
import { Tracker } from "../tracking/tracker.js";

const ATTEMPTS = 4;

/** The trackers of a list such as `tensorboard,csv`. Throws CONFIG_INVALID, also for MLflow without an address. */
export function parseTrackers(text: string): readonly SinkName[] {
  const names = text.split(",").map((name) => name.trim());
  const unknown = names.find((name) => !SINK_NAMES.some((known) => known === name));
  if (unknown !== undefined) throw problemError("CONFIG_INVALID", { subject: "--report-to", expected: `some of ${SINK_NAMES.join(", ")}, joined by commas`, received: JSON.stringify(unknown) });
  if (names.includes("mlflow")) readMlflowServer();
  return SINK_NAMES.filter((name) => names.includes(name));
}

/** A tracker of a run whose record is in its folder. */
export async function openTracker(folder: string, names: readonly SinkName[], onProblem: (message: string) => void): Promise<Tracker> {
  const paths = runPaths(folder);
  const record = readRunRecord(paths.record);
  const startMs = Date.parse(record.startedAt);
  const { config } = await loadConfig({ file: paths.config });
  const make: Readonly<Record<SinkName, () => Sink>> = {
    tensorboard: () => tensorboardSink(join(paths.folder, "tensorboard"), startMs),
    csv: () => csvSink(join(paths.folder, "metrics.csv")),
    mlflow: () => {
      const parameters = Object.fromEntries(config.arms.map((arm) => [arm.name, flatten({ seed: config.seed, model: config.model, data: config.data, ...arm })]));
      return mlflowSink(readMlflowServer(), { name: config.name, runId: record.id, startMs, parameters }, { maxAttempts: ATTEMPTS, sleep: (ms) => sleep(ms) });
    },
  };
  return new Tracker(names.map((name) => make[name]()), { metrics: paths.metrics, onProblem });
}

/** Dotted paths of all single values. */
function flatten(value: unknown, prefix = ""): Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value === undefined ? {} : { [prefix]: typeof value === "string" ? value : JSON.stringify(value) };
  return Object.assign({}, ...Object.entries(value).map(([key, inner]) => flatten(inner, prefix === "" ? key : `${prefix}.${key}`))) as Record<string, string>;
}

/** Follows a run by its events; reads its database only when a round has ended, and sends while the next one computes. */
export class TrackingListener {
  readonly #names: readonly SinkName[];
  readonly #onProblem: (message: string) => void;
  #folder: string | undefined;
  #opening: Promise<Tracker | undefined> | undefined;

  constructor(names: readonly SinkName[], onProblem: (message: string) => void) {
    this.#names = names;
    this.#onProblem = onProblem;
  }

  onEvent(event: RunEvent): void {
    if (event.event === "run_started") this.#folder = event.runFolder;
    if (event.event !== "round_started" && event.event !== "arm_finished") return;
    // The record is there before the first round.
    this.#opening ??= this.#open();
    void this.#opening.then((tracker) => {
      tracker?.update();
    });
  }

  async finish(status: RunStatus): Promise<void> {
    const tracker = await (this.#opening ?? (this.#folder === undefined ? undefined : this.#open()));
    await tracker?.finish(status);
  }

  async #open(): Promise<Tracker | undefined> {
    try {
      return await openTracker(this.#folder ?? "", this.#names, this.#onProblem);
    } catch (error) {
      this.#onProblem(`nothing is reported: ${error instanceof Error ? error.message : String(error)}`);
      return undefined;
    }
  }
}
