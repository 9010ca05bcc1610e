/** A tracking server of MLflow, by its REST interface (2.0): an experiment by the run's name, a run for each arm. */
import { request } from "undici";
import { z } from "zod";
import type { TrackedPoint } from "../metrics/tracked-points.js";
import { problemError } from "../errors.js";
import type { Secret } from "../util/secret.js";
import type { RunStatus, Sink } from "./sink.js";

export interface MlflowServer {
  /** For example http://127.0.0.1:5000 */
  readonly url: string;
  /** The whole header `authorization`. */
  readonly authorization?: Secret | undefined;
}

export interface MlflowRun {
  /** Of the experiment. */
  readonly name: string;
  readonly runId: string;
  readonly startMs: number;
  /** By arm; texts as they are. */
  readonly parameters: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

export interface MlflowOptions {
  /** Attempts of each request. */
  readonly maxAttempts: number;
  readonly sleep: (ms: number) => Promise<void>;
}

/** Limits of log-batch. */
const METRICS_MAX = 1000;
const PARAMETERS_MAX = 100;
const TEXT_MAX = 500;
const TIMEOUT_MS = 10_000;
const FIRST_PAUSE_MS = 500;

const experimentSchema = z.object({ experiment: z.object({ experiment_id: z.string() }) });
const createdSchema = z.object({ experiment_id: z.string() });
const runSchema = z.object({ run: z.object({ info: z.object({ run_id: z.string() }) }) });

/** Sends to a server; every request is tried again where that may help. Its promises reject with IO_FAILED. */
export function mlflowSink(server: MlflowServer, run: MlflowRun, options: MlflowOptions): Sink {
  const client = new Client(server, options);
  let experiment: Promise<string> | undefined;
  const runs = new Map<string, Promise<string>>();
  const runOf = (arm: string): Promise<string> => {
    const known = runs.get(arm);
    if (known !== undefined) return known;
    experiment ??= findExperiment(client, run.name);
    const created = experiment.then((id) => createRun(client, id, arm, run));
    runs.set(arm, created);
    return created;
  };
  return {
    name: "mlflow",
    write: async (points) => {
      for (const arm of new Set(points.map((point) => point.arm))) {
        const id = await runOf(arm);
        const metrics = points.filter((point) => point.arm === arm).map(metricOf);
        for (let start = 0; start < metrics.length; start += METRICS_MAX) {
          await client.post("runs/log-batch", { run_id: id, metrics: metrics.slice(start, start + METRICS_MAX) });
        }
      }
    },
    finish: async (status: RunStatus) => {
      for (const id of runs.values()) await client.post("runs/update", { run_id: await id, status, end_time: Date.now() });
    },
  };
}

function metricOf({ name, value, timeMs, round }: TrackedPoint) {
  return { key: keyOf(name), value, timestamp: timeMs, step: round };
}

/** Keys have letters, digits, underscores, dashes, periods, blanks and slashes. */
function keyOf(name: string): string {
  return name.replaceAll("@", ".").replaceAll(/[^\w\-. /]/gu, "_");
}

async function findExperiment(client: Client, name: string): Promise<string> {
  const found = await client.get("experiments/get-by-name", { experiment_name: name });
  if (found !== undefined) return experimentSchema.parse(found).experiment.experiment_id;
  return createdSchema.parse(await client.post("experiments/create", { name })).experiment_id;
}

async function createRun(client: Client, experimentId: string, arm: string, { runId, startMs, name, parameters }: MlflowRun): Promise<string> {
  const tags = [{ key: "fedllm.run_id", value: runId }, { key: "fedllm.arm", value: arm }];
  const created = await client.post("runs/create", { experiment_id: experimentId, run_name: `${name} ${arm}`, start_time: startMs, tags });
  const id = runSchema.parse(created).run.info.run_id;
  const params = Object.entries(parameters[arm] ?? {}).slice(0, PARAMETERS_MAX).map(([key, value]) => ({ key: keyOf(key), value: value.slice(0, TEXT_MAX) }));
  if (params.length > 0) await client.post("runs/log-batch", { run_id: id, params });
  return id;
}

class Client {
  readonly #server: MlflowServer;
  readonly #options: MlflowOptions;

  constructor(server: MlflowServer, options: MlflowOptions) {
    this.#server = server;
    this.#options = options;
  }

  post(path: string, body: unknown): Promise<unknown> {
    return this.#send("POST", path, JSON.stringify(body));
  }

  /** Undefined: there is no such thing. */
  get(path: string, query: Readonly<Record<string, string>>): Promise<unknown> {
    return this.#send("GET", `${path}?${new URLSearchParams(query).toString()}`);
  }

  async #send(method: "GET" | "POST", path: string, body?: string): Promise<unknown> {
    for (let attempt = 1; ; attempt++) {
      const problem = await this.#try(method, path, body);
      if ("value" in problem) return problem.value;
      if (!problem.mayPass || attempt >= this.#options.maxAttempts) throw problemError("IO_FAILED", { subject: `MLflow at ${this.#server.url}, ${path}`, expected: "an answer", received: problem.text });
      await this.#options.sleep(FIRST_PAUSE_MS * 2 ** (attempt - 1));
    }
  }

  async #try(method: "GET" | "POST", path: string, body: string | undefined): Promise<{ readonly value: unknown } | { readonly mayPass: boolean; readonly text: string }> {
    const { url, authorization } = this.#server;
    try {
      const { statusCode, body: answer } = await request(`${url.replace(/\/+$/u, "")}/api/2.0/mlflow/${path}`, {
        method,
        headers: { "content-type": "application/json", ...(authorization === undefined ? {} : { authorization: authorization.reveal() }) },
        ...(body === undefined ? {} : { body }),
        headersTimeout: TIMEOUT_MS,
        bodyTimeout: TIMEOUT_MS,
      });
      const text = await answer.text();
      if (statusCode === 200) return { value: JSON.parse(text) as unknown };
      if (statusCode === 404 && method === "GET" && text.includes("RESOURCE_DOES_NOT_EXIST")) return { value: undefined };
      return { mayPass: statusCode === 429 || statusCode >= 500, text: `status ${String(statusCode)}: ${text.slice(0, 200)}` };
    } catch (error) {
      return { mayPass: true, text: error instanceof Error ? error.message : String(error) };
    }
  }
}
