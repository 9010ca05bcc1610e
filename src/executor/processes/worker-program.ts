/**
 * The program of a worker process, started by worker-process.ts with a pipe to the run. It trains what it is told to, one job at a time, and ends when the
 * run does, however that ends. Training is off the thread of JavaScript, so it answers all the time.
 */
import { errorCodeOf } from "../../errors.js";
import type { TrainProgress } from "../../federated/local-trainer.js";
import { createNativeEngine, type NativeEngineOptions } from "../../run/native-engine.js";
import { assert } from "../../util/assert.js";
import { FileArtifacts } from "../file-artifacts.js";
import { parseJob } from "../job.js";
import { JobWorker } from "../job-worker.js";
import { parseToWorker, type BeginMessage, type FromWorker, type ToWorker } from "./messages.js";

/** After the run is gone: how long a training has to stop in order. It stops within a micro-batch. */
const STOP_GRACE_MS = 10_000;

let worker: JobWorker | undefined;
const modelPaths = new Map<string, string>();
const running = new Map<string, AbortController>();

function send(message: FromWorker): void {
  // A run that is gone is noticed by the end of the pipe.
  if (process.connected) process.send?.(message, () => undefined);
}

async function begin({ folder, numThreads, device, hiddenStateCache, source, memoryRequests }: BeginMessage): Promise<void> {
  try {
    const requests = memoryRequests as unknown as NonNullable<NativeEngineOptions["workload"]>["requests"];
    const engine = await createNativeEngine({ numThreads, device, hiddenStateCache, workload: { path: source.path, requests } });
    const { llamaCppRelease, deviceName } = engine;
    worker = new JobWorker({
      store: new FileArtifacts(folder),
      llamaCppRelease,
      openModel: ({ sha256, variants }) => {
        const path = modelPaths.get(sha256);
        assert(path !== undefined, "a job comes with the path of its model");
        return engine.openBaseModel(path, variants);
      },
    });
    send({ kind: "ready", llamaCppRelease, device: deviceName });
  } catch (error) {
    send({ kind: "unable", code: errorCodeOf(error), message: error instanceof Error ? error.message : String(error) });
  }
}

async function work({ job: message, modelPath }: Extract<ToWorker, { kind: "job" }>): Promise<void> {
  assert(worker !== undefined, "a worker gets jobs after it said that it is ready");
  const job = parseJob(message);
  modelPaths.set(job.model.sha256, modelPath);
  const controller = new AbortController();
  running.set(job.id, controller);
  const onProgress = ({ loss, ...progress }: TrainProgress): void => {
    send({ kind: "progress", id: job.id, progress: { ...progress, loss: Number.isFinite(loss) ? loss : null } });
  };
  const answer = await worker.run(job, { onProgress, signal: controller.signal });
  running.delete(job.id);
  send({ kind: "answer", answer, peakMemoryBytes: process.resourceUsage().maxRSS * 1024 });
}

function handle(message: ToWorker): void {
  if (message.kind === "begin") void begin(message);
  else if (message.kind === "job") void work(message);
  else if (message.kind === "cancel") running.get(message.id)?.abort();
  else send({ kind: "pong" });
}

process.on("message", (value) => {
  handle(parseToWorker(value));
});

// Ctrl-C in a terminal reaches all processes of it; the run decides what becomes of its workers.
for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);

process.on("disconnect", () => {
  for (const controller of running.values()) controller.abort();
  setTimeout(() => process.kill(process.pid, "SIGKILL"), STOP_GRACE_MS).unref();
  const stop = (): void => {
    if (running.size > 0) return;
    clearInterval(timer);
    worker?.dispose();
  };
  const timer = setInterval(stop, 20);
  stop();
});
