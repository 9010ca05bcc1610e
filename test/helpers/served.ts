/** The real server over the built-in model and two adapters that say other things, in this process. */
import { join } from "node:path";
import { resolveModelPath } from "../../src/config/builtin.js";
import type { OpenLlama } from "../../src/generation/llama.js";
import { openLlama } from "../../src/generation/llama.js";
import { ContextPool } from "../../src/generation/context-pool.js";
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { startServer } from "../../src/serve/server.js";
import type { RunningServer, ServerOptions } from "../../src/serve/server.js";
import type { ServedModel } from "../../src/serve/served-models.js";

export const SERVED_MODEL = resolveModelPath("builtin:fedllm-tiny");
export const CONTEXT_LENGTH = 512;
const ADAPTER = { rank: 2, loraAlpha: 4, targetModules: ["attn_q", "attn_v"] };

export interface Serving {
  readonly open: OpenLlama;
  readonly pool: ContextPool;
  readonly models: readonly ServedModel[];
}

/** Opens what is served: ids `base`, `arm` and `arm/one`. The contexts are fewer than the models, so that some give way. */
export async function openServing(folder: string): Promise<Serving> {
  const paths = await Promise.all([1, 2].map((seed) => writeAdapter(join(folder, `adapter-${String(seed)}.gguf`), seed)));
  const open = await openLlama("cpu");
  const pool = new ContextPool(open, { parallel: 2, maxContexts: 2, contextLength: CONTEXT_LENGTH, numThreads: 1 });
  const describe = (id: string, adapterPath?: string): ServedModel => ({
    id,
    files: { modelPath: SERVED_MODEL, ...(adapterPath === undefined ? {} : { adapterPath }) },
    created: 1_700_000_000,
  });
  return { open, pool, models: [describe("base"), describe("arm", paths[0]), describe("arm/one", paths[1])] };
}

export async function closeServing({ open, pool }: Serving): Promise<void> {
  await pool.dispose();
  await open.llama.dispose();
}

/** A server on a free port. */
export async function serve({ models, pool }: Serving, changes: Partial<ServerOptions> = {}): Promise<RunningServer> {
  return startServer(models, pool, { host: "127.0.0.1", port: 0, maxWaiting: 16, parallel: 2, maxBodyBytes: 65_536, ...changes });
}

/** An adapter with weights large enough to change what is said. */
async function writeAdapter(path: string, seed: number): Promise<string> {
  const { addon } = loadNative();
  const model = await BaseModel.open(addon, SERVED_MODEL, { numThreads: 1 });
  const { numParameters } = model.adapterLayout(ADAPTER);
  const weights = Float32Array.from({ length: numParameters }, (_, index) => 0.6 * Math.sin(index * (seed + 0.37) + seed));
  await model.saveAdapter(path, ADAPTER, weights);
  model.dispose();
  return path;
}
