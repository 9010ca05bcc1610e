/** A tracking server that keeps to MLflow's documented REST contract (2.0) and refuses what breaks it; some requests can be made to fail. */
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { z } from "zod";

const key = z.string().regex(/^[\w\-. /]{1,250}$/u);
const metric = z.strictObject({ key, value: z.number(), timestamp: z.int().min(0), step: z.int().min(0) });
const pairs = z.array(z.strictObject({ key, value: z.string().max(6000) })).max(100);
const bodies = {
  "experiments/create": z.strictObject({ name: z.string().min(1) }),
  "runs/create": z.strictObject({ experiment_id: z.string(), run_name: z.string(), start_time: z.int(), tags: pairs }),
  "runs/log-batch": z.strictObject({ run_id: z.string(), metrics: z.array(metric).max(1000).optional(), params: pairs.optional(), tags: pairs.optional() }),
  "runs/update": z.strictObject({ run_id: z.string(), status: z.enum(["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]), end_time: z.int().optional() }),
} as const;

export interface StoredRun {
  readonly name: string;
  status: string;
  readonly metrics: z.output<typeof metric>[];
  readonly params: Map<string, string>;
}

export interface MlflowServerDouble {
  readonly url: string;
  readonly experiments: ReadonlyMap<string, string>;
  readonly runs: ReadonlyMap<string, StoredRun>;
  readonly authorizations: readonly (string | undefined)[];
  close(): Promise<void>;
}

/** statuses: answers given to the first requests instead of real ones. */
export async function startMlflowServer(statuses: readonly number[] = []): Promise<MlflowServerDouble> {
  const failures = [...statuses];
  const experiments = new Map<string, string>();
  const runs = new Map<string, StoredRun>();
  const authorizations: (string | undefined)[] = [];
  const answer = (request: IncomingMessage, body: string): [number, unknown] => {
    authorizations.push(request.headers.authorization);
    const failure = failures.shift();
    if (failure !== undefined) return [failure, { error_code: "TEMPORARILY_UNAVAILABLE" }];
    const url = new URL(request.url ?? "", "http://localhost");
    const path = url.pathname.replace("/api/2.0/mlflow/", "");
    if (request.method === "GET" && path === "experiments/get-by-name") {
      const id = experiments.get(url.searchParams.get("experiment_name") ?? "");
      return id === undefined ? [404, { error_code: "RESOURCE_DOES_NOT_EXIST", message: "no such experiment" }] : [200, { experiment: { experiment_id: id } }];
    }
    if (!Object.hasOwn(bodies, path) || request.method !== "POST") return [404, { error_code: "ENDPOINT_NOT_FOUND" }];
    const parsed = bodies[path as keyof typeof bodies].safeParse(JSON.parse(body));
    if (!parsed.success) return [400, { error_code: "INVALID_PARAMETER_VALUE", message: parsed.error.message }];
    return handle(path, parsed.data, experiments, runs);
  };
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    let body = "";
    request.setEncoding("utf8").on("data", (text: string) => (body += text));
    request.on("end", () => {
      const [status, value] = answer(request, body);
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(value));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${String(port)}`,
    experiments,
    runs,
    authorizations,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => {
          resolve();
        });
      }),
  };
}

function handle(path: string, body: Record<string, unknown>, experiments: Map<string, string>, runs: Map<string, StoredRun>): [number, unknown] {
  if (path === "experiments/create") {
    const name = String(body["name"]);
    if (experiments.has(name)) return [400, { error_code: "RESOURCE_ALREADY_EXISTS" }];
    experiments.set(name, String(experiments.size + 1));
    return [200, { experiment_id: experiments.get(name) }];
  }
  if (path === "runs/create") {
    const id = `run-${String(runs.size)}`;
    runs.set(id, { name: String(body["run_name"]), status: "RUNNING", metrics: [], params: new Map() });
    return [200, { run: { info: { run_id: id } } }];
  }
  const run = runs.get(String(body["run_id"]));
  if (run === undefined) return [404, { error_code: "RESOURCE_DOES_NOT_EXIST" }];
  if (path === "runs/update") run.status = String(body["status"]);
  run.metrics.push(...((body["metrics"] as StoredRun["metrics"] | undefined) ?? []));
  for (const { key: name, value } of (body["params"] as { key: string; value: string }[] | undefined) ?? []) run.params.set(name, value);
  return [200, {}];
}
