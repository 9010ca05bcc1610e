/** Hands a run's measurements to sinks, from its database: what is new after each round, and the rest at the end. A sink that fails is left out and named; the run goes on. */
import { existsSync } from "node:fs";
import { openMetricsForReading } from "../metrics/database.js";
import { trackedPoints } from "../metrics/tracked-points.js";
import type { RunStatus, Sink } from "./sink.js";

export interface TrackerOptions {
  /** metrics.sqlite; may not be there yet. */
  readonly metrics: string;
  /** Hears of each sink that failed, once. */
  readonly onProblem: (message: string) => void;
}

export class Tracker {
  readonly #options: TrackerOptions;
  readonly #sent = new Set<string>();
  #sinks: readonly Sink[];
  /** Writes follow one another. */
  #last: Promise<void> = Promise.resolve();

  constructor(sinks: readonly Sink[], options: TrackerOptions) {
    this.#sinks = sinks;
    this.#options = options;
  }

  /** Sends what is new; returns at once and never throws. */
  update(): void {
    try {
      const points = this.#newPoints();
      if (points.length > 0) this.#all((sink) => sink.write(points));
    } catch (error) {
      this.#options.onProblem(`measurements cannot be reported now: ${messageOf(error)}`);
    }
  }

  /** Sends the rest and resolves when all sinks have it or have failed. True: all have everything. */
  async finish(status: RunStatus): Promise<boolean> {
    const numSinks = this.#sinks.length;
    this.update();
    this.#all((sink) => sink.finish(status));
    await this.#last;
    return this.#sinks.length === numSinks;
  }

  #newPoints() {
    const { metrics } = this.#options;
    if (!existsSync(metrics)) return [];
    const database = openMetricsForReading(metrics);
    try {
      return trackedPoints(database).filter(({ arm, name, round }) => {
        const key = JSON.stringify([arm, name, round]);
        if (this.#sent.has(key)) return false;
        this.#sent.add(key);
        return true;
      });
    } finally {
      database.close();
    }
  }

  #all(action: (sink: Sink) => Promise<void>): void {
    this.#last = this.#last.then(async () => {
      for (const sink of this.#sinks) {
        try {
          await action(sink);
        } catch (error) {
          this.#sinks = this.#sinks.filter((other) => other !== sink);
          this.#options.onProblem(`${sink.name} gets nothing more of this run: ${messageOf(error)}. \`fedllm-native report-to\` sends a finished run again`);
        }
      }
    });
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
