/** From the judge that a user describes to the one that metrics ask: key and proxies from the environment, cache in the user's folder. */
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { resolveModelPath } from "../config/builtin.js";
import { readDataEnvironment } from "../config/data-environment.js";
import { readEnvironment, readSecret } from "../config/environment.js";
import type { Variables } from "../config/environment.js";
import type { JudgeConfig } from "../config/judge.js";
import { assert } from "../util/assert.js";
import type { Answerer } from "./answerer.js";
import type { OpenJudge } from "./judge.js";
import { createRemoteAnswerer } from "./remote.js";

/** File of the user's cache folder with all judges' replies. */
const CACHE_NAME = "judge-replies.sqlite";

export interface JudgeSetting {
  /** Environment variables; default: those of the process. */
  readonly variables?: Variables;
}

/**
 * Opens a judge; the caller disposes of it. Nothing is sent before the first request. Rejects with CONFIG_INVALID for an address or a key that
 * cannot be used, METRICS_INVALID or IO_FAILED for the cache, and for a file as openLocalAnswerer.
 */
export async function createJudge(config: JudgeConfig, { variables }: JudgeSetting = {}): Promise<OpenJudge> {
  const { gguf, concurrency = gguf === undefined ? undefined : 1, prices } = config;
  // Brings the cache's SQLite with it, which programs without a judge need not load.
  const { openJudge } = await import("./judge.js");
  const answerer = gguf === undefined ? openEndpoint(config, variables) : await openFile(config, gguf);
  return openJudge(answerer, {
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(prices === undefined ? {} : { prices }),
    ...(config.cache ? { cacheFile: join(readEnvironment(variables).cacheDir, CACHE_NAME) } : {}),
  });
}

async function openFile({ contextLength, numThreads = availableParallelism(), device, concurrency = 1 }: JudgeConfig, gguf: string): Promise<Answerer> {
  const { openLocalAnswerer } = await import("./local.js");
  return openLocalAnswerer({ path: resolveModelPath(gguf), contextLength, numThreads, device, concurrency });
}

function openEndpoint(config: JudgeConfig, variables?: Variables): Answerer {
  const { baseUrl, model, apiKeyEnv, temperature } = config;
  assert(baseUrl !== undefined && model !== undefined, "the configuration was checked");
  return createRemoteAnswerer({
    baseUrl,
    model,
    allowHttp: config.allowHttp,
    tokenLimitField: config.tokenLimitField,
    extraBody: config.extraBody,
    timeoutMs: config.timeoutSeconds * 1000,
    retry: { maxAttempts: config.maxAttempts },
    network: readDataEnvironment(variables).proxies,
    ...(apiKeyEnv === undefined ? {} : { key: readSecret(apiKeyEnv, variables) }),
    ...(temperature === undefined ? {} : { temperature }),
  });
}
