/** `serve <subject>`: an OpenAI-compatible server of a run's models, on this machine. */
import { randomBytes } from "node:crypto";
import { availableParallelism } from "node:os";
import type { CommandModule, InferredOptionTypes } from "yargs";
import { readSecret } from "../../config/environment.js";
import { GENERATION_DEVICES } from "../../config/names.js";
import { TEMPLATE_NAMES } from "../../data/prompt-template.js";
import { problemError } from "../../errors.js";
import { printable } from "../../report/format.js";
import type { RequestEntry } from "../../serve/server.js";
import type { ServedModel } from "../../serve/served-models.js";
import { checkOpenHost } from "../../serve/access.js";
import { Secret } from "../../util/secret.js";
import { listenForInterrupt } from "../interrupt.js";

const serveOptions = {
  model: { type: "string", requiresArg: true, describe: "base model of an adapter that lies in no run" },
  host: { type: "string", default: "127.0.0.1", requiresArg: true, describe: "address to listen on; others than this machine's own need a token" },
  port: { type: "number", default: 8080, requiresArg: true, describe: "0: any free one" },
  "token-env": { type: "string", requiresArg: true, describe: "environment variable with the token that clients send (default: a random one, printed)" },
  "no-token": { type: "boolean", default: false, describe: "answers everybody; only for this machine's own addresses" },
  template: { choices: TEMPLATE_NAMES, requiresArg: true, describe: "how conversations are written (default: the run's, or the model file's own)" },
  "context-length": { type: "number", default: 4096, requiresArg: true, describe: "tokens of prompt and answer together" },
  parallel: { type: "number", default: 1, requiresArg: true, describe: "requests that are computed at once, which share the threads" },
  "max-contexts": { type: "number", requiresArg: true, describe: "contexts that are kept, one for each model that was asked for (default: 4, at least --parallel)" },
  queue: { type: "number", default: 32, requiresArg: true, describe: "requests that may wait; more are turned away with 429" },
  "max-request-kib": { type: "number", default: 4096, requiresArg: true, describe: "largest request" },
  device: { choices: GENERATION_DEVICES, default: "cpu", requiresArg: true, describe: "what computes" },
  "num-threads": { type: "number", default: availableParallelism(), requiresArg: true, describe: "compute threads" },
  json: { type: "boolean", default: false, describe: "one JSON event per line on standard output" },
} as const;

type ServeArguments = InferredOptionTypes<typeof serveOptions> & { readonly subject: string };

export const serveCommand: CommandModule<object, ServeArguments> = {
  command: "serve <subject>",
  describe: "an OpenAI-compatible server on this machine: chat, completions, streaming, every adapter of a run",
  builder: (argv) =>
    argv
      .positional("subject", { type: "string", demandOption: true, describe: "run (folder or name below ./runs), GGUF adapter, GGUF model or builtin:fedllm-tiny" })
      .options(serveOptions)
      .example("$0 serve runs/my-study", "every adapter of the run and its base models, each a model id of GET /v1/models")
      .example("$0 serve adapter.gguf --model model.gguf", "an adapter with its base")
      .example("TOKEN=... $0 serve model.gguf --token-env TOKEN --port 0", "a token of your own, any free port"),
  handler: async (values) => {
    checkNumbers(values);
    const token = tokenOf(values);
    const [{ findServedModels }, { openLlama, backendOf }, { ContextPool }, { startServer }] = await Promise.all([
      import("../../serve/served-models.js"),
      import("../../generation/llama.js"),
      import("../../generation/context-pool.js"),
      import("../../serve/server.js"),
    ]);
    const { parallel, "num-threads": numThreads, "context-length": contextLength, device } = values;
    const openEngine = async () => {
      const { createNativeEngine } = await import("../../run/native-engine.js");
      return createNativeEngine({ numThreads, device: backendOf(device), onProgress: writeError });
    };
    const models = await findServedModels({ subject: values.subject, openEngine, ...optional("base", values.model), ...optional("template", values.template) });
    const open = await openLlama(device);
    const maxContexts = Math.max(values["max-contexts"] ?? 4, parallel);
    const pool = new ContextPool(open, { parallel, maxContexts, contextLength, numThreads: Math.max(1, Math.floor(numThreads / parallel)) });
    let stop = (): void => undefined;
    const stopped = new Promise<void>((resolve) => {
      stop = resolve;
    });
    const interrupt = listenForInterrupt({
      onFirst: () => {
        writeError("\nStopping; open answers end here.");
        stop();
      },
      onSecond: () => undefined,
    });
    try {
      const server = await startServer(models, pool, {
        host: values.host,
        port: values.port,
        maxWaiting: values.queue,
        parallel,
        maxBodyBytes: values["max-request-kib"] * 1024,
        onRequest: (entry) => {
          writeEntry(entry, values.json);
        },
        ...optional("token", token.secret),
      });
      describeServer(`${server.url}/v1`, models, token, values.json);
      await stopped;
      await server.stop();
    } finally {
      interrupt.dispose();
      await pool.dispose();
      await open.llama.dispose();
    }
  },
};

interface ServerToken {
  readonly secret?: Secret;
  /** To be shown, since nobody could know it otherwise. */
  readonly isDrawn: boolean;
}

function tokenOf({ "token-env": variable, "no-token": isOpen, host }: ServeArguments): ServerToken {
  if (isOpen) checkOpenHost(host);
  if (isOpen && variable !== undefined) throw problemError("CONFIG_INVALID", { subject: "--no-token", expected: "either --no-token or --token-env", received: "both" });
  if (isOpen) return { isDrawn: false };
  if (variable !== undefined) return { secret: readSecret(variable), isDrawn: false };
  return { secret: new Secret(randomBytes(24).toString("base64url")), isDrawn: true };
}

const LIMITS: Readonly<Record<string, readonly [min: number, max: number]>> = {
  port: [0, 65_535],
  "context-length": [16, 1 << 20],
  parallel: [1, 64],
  "max-contexts": [1, 256],
  queue: [0, 10_000],
  "max-request-kib": [1, 1 << 20],
  "num-threads": [1, 512],
};

function checkNumbers(values: Readonly<Record<string, unknown>>): void {
  for (const [name, [min, max]] of Object.entries(LIMITS)) {
    const value = values[name];
    if (value === undefined || (Number.isInteger(value) && Number(value) >= min && Number(value) <= max)) continue;
    throw problemError("CONFIG_INVALID", { subject: `--${name}`, expected: `a whole number from ${String(min)} to ${String(max)}`, received: JSON.stringify(value) });
  }
}

function optional<Name extends string, Value>(name: Name, value: Value | undefined): Partial<Record<Name, Value>> {
  return value === undefined ? {} : ({ [name]: value } as Partial<Record<Name, Value>>);
}

function describeServer(url: string, models: readonly ServedModel[], { secret, isDrawn }: ServerToken, json: boolean): void {
  const token = isDrawn ? secret?.reveal() : undefined;
  if (json) {
    process.stdout.write(`${JSON.stringify({ event: "serving", url, models: models.map(({ id }) => id), ...optional("token", token) })}\n`);
    return;
  }
  const lines = [
    `serving on ${url}, Ctrl-C ends it`,
    ...(token === undefined ? [] : [`token: ${token}`]),
    ...(secret === undefined ? ["no token: every program of this machine may ask"] : []),
    "models:",
    ...models.map(({ id }) => `  ${printable(id)}`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

function writeEntry({ method, path, status, durationMs }: RequestEntry, json: boolean): void {
  if (json) process.stdout.write(`${JSON.stringify({ event: "request", method, path, status, durationMs: Math.round(durationMs) })}\n`);
  else writeError(`${method} ${printable(path).slice(0, 200)} ${String(status)} ${(durationMs / 1000).toFixed(2)} s`);
}

function writeError(line: string): void {
  process.stderr.write(`${line}\n`);
}
