/** `serve` as a user starts it: every adapter of a real run by id, the run's template, the token, and how Ctrl-C ends it. */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import OpenAI from "openai";
import { beforeAll, expect, test } from "vitest";
import { makeTestFolder } from "../helpers/native.js";
import { runCli } from "../helpers/run-cli.js";
import type { CliResult } from "../helpers/run-cli.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const TOKEN = "token-of-the-test-0123";
const folder = makeTestFolder();
const run = join(folder, "run");
const env = { FEDLLM_CACHE_DIR: join(folder, "cache"), SERVE_TOKEN: TOKEN };

interface Started {
  readonly url: string;
  readonly models: readonly string[];
  readonly token?: string;
}

/** Serves, does something with the server, sends SIGINT, and returns what the program printed. */
async function serveAnd(args: readonly string[], action: (started: Started, child: ChildProcess) => Promise<void>): Promise<CliResult> {
  let failure: unknown;
  const result = await runCli(["serve", ...args, "--port", "0", "--json", "--context-length", "64", "--num-threads", "1"], {
    cwd: folder,
    env,
    onLine: (line, child) => {
      const event = JSON.parse(line) as Started & { readonly event: string };
      if (event.event !== "serving") return;
      void action(event, child)
        .catch((error: unknown) => {
          failure = error;
        })
        .finally(() => child.kill("SIGINT"));
    },
  });
  if (failure !== undefined) throw failure as Error;
  return result;
}

const clientOf = ({ url }: Started, apiKey: string) => new OpenAI({ baseURL: url, apiKey, maxRetries: 0 });

beforeAll(async () => {
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16, Q8_0], strategies: [local, fedavg]}"]);
  const { exitCode, stderr } = await runCli(["run", file, "--out", run, "--num-rounds", "1", "--quiet"], { env });
  expect([exitCode, stderr]).toEqual([0, ""]);
});

test("all adapters and base models of a run are served, with a token of the user's that is printed nowhere", async () => {
  const { exitCode, stdout, stderr } = await serveAnd([run, "--token-env", "SERVE_TOKEN"], async (started) => {
    expect(started.token).toBeUndefined();
    // Three clients are drawn in the one round; names are those of the files.
    const clients = ["%2E%2E%2Fup", "42", "b"];
    expect(started.models).toEqual(["f16-fedavg", "q8_0-fedavg", ...["f16", "q8_0"].flatMap((precision) => clients.map((client) => `${precision}-local/${client}`)), "base/F16", "base/Q8_0"]);
    const client = clientOf(started, TOKEN);
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(started.models);
    for (const model of ["f16-fedavg", "q8_0-local/b", "base/Q8_0"]) {
      const { choices, usage } = await client.chat.completions.create({ model, messages: [{ role: "user", content: "1+1" }], temperature: 0, max_completion_tokens: 4 });
      expect(choices[0]?.finish_reason).toMatch(/^(stop|length)$/u);
      // BOS and the run's template, which writes Q, the text and A, behind the blank of this tokenizer.
      expect(usage?.prompt_tokens).toBe(7);
    }
    await expect(clientOf(started, "another-token-0123").models.list()).rejects.toBeInstanceOf(OpenAI.AuthenticationError);
  });
  expect(exitCode).toBe(0);
  expect(stdout + stderr).not.toContain(TOKEN);
  expect(stderr).toContain("Stopping; open answers end here.");
  const requests = stdout.trim().split("\n").map((line) => JSON.parse(line) as { event: string; status?: number });
  expect(requests.map(({ event, status }) => (event === "request" ? status : event))).toEqual(["serving", 200, 200, 200, 200, 401]);
});

test("an adapter of a run is found with its base and comes first; a token is drawn and shown", async () => {
  const { exitCode } = await serveAnd([join(run, "adapters", "q8_0-fedavg.gguf")], async (started) => {
    expect(started.models[0]).toBe("q8_0-fedavg");
    expect(started.token).toMatch(/^[\w-]{32}$/u);
    const stream = await clientOf(started, started.token ?? "").completions.create({ model: started.models[0] ?? "", prompt: "1+", max_tokens: 40, temperature: 2, seed: 0, stream: true });
    let numPieces = 0;
    for await (const piece of stream) numPieces += piece.choices.length;
    expect(numPieces).toBeGreaterThan(1);
  });
  expect(exitCode).toBe(0);
});

test("Ctrl-C ends an open stream with an error, and the program with 0", async () => {
  let message = "";
  const { exitCode } = await serveAnd([join(folder, "tiny.gguf"), "--no-token"], async (started, child) => {
    expect(started.models).toEqual(["tiny"]);
    const schema = { type: "string", minLength: 400 };
    const request = { model: "tiny", messages: [{ role: "user" as const, content: "1" }], stream: true as const, response_format: { type: "json_schema" as const, json_schema: { name: "long", schema } } };
    const stream = await clientOf(started, "none").chat.completions.create(request);
    let isSent = false;
    const reading = (async () => {
      for await (const piece of stream) {
        if (piece.choices[0]?.delta.content === "" || isSent) continue;
        isSent = child.kill("SIGINT");
      }
    })();
    message = await reading.then(
      () => "the stream ended as if it were whole",
      (error: unknown) => (error as Error).message,
    );
    // The second signal of serveAnd would end the program at once.
    await new Promise((resolve) => child.once("close", resolve));
  });
  expect([exitCode, message]).toEqual([0, "the server is stopping"]);
});

test.each<[readonly string[], number, RegExp]>([
  [["none-such"], 2, /RUN_NOT_FOUND/],
  [["tiny.gguf", "--host", "0.0.0.0", "--no-token"], 2, /--host: expected 127\.0\.0\.1/],
  [["tiny.gguf", "--token-env", "NOT_SET"], 2, /environment variable NOT_SET/],
  [["tiny.gguf", "--no-token", "--token-env", "SERVE_TOKEN"], 2, /either --no-token or --token-env/],
  [["clients.json"], 1, /MODEL_LOAD_FAILED/],
])("serve %j ends with %d", async (args, code, message) => {
  const { exitCode, stderr } = await runCli(["serve", ...args], { cwd: folder, env });
  expect([exitCode, stderr]).toEqual([code, expect.stringMatching(message)]);
});
