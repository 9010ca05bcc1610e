/**
 * Where a GGUF weight is in a model of Hugging Face's transformers: the module's path, and the order of its rows. The rows of queries and keys of
 * architectures that rotate neighbouring numbers in llama.cpp (llama, granite, smollm3) are interleaved in GGUF: row 2 j + s of a head is row
 * s d / 2 + j of the module's weight, for halves s of a head of d rows.
 */
import { problemError } from "../errors.js";

/** What names and row orders depend on. */
export interface ModelShape {
  readonly architecture: string;
  readonly numHeads: number;
  readonly numKvHeads: number;
}

const MODULES: Readonly<Record<string, string>> = {
  attn_q: "self_attn.q_proj",
  attn_k: "self_attn.k_proj",
  attn_v: "self_attn.v_proj",
  attn_output: "self_attn.o_proj",
  ffn_gate: "mlp.gate_proj",
  ffn_up: "mlp.up_proj",
  ffn_down: "mlp.down_proj",
  attn_qkv: "self_attn.qkv_proj",
};
/** Of phi3, whose gate and up are one weight. */
const FUSED_GATE_UP = "mlp.gate_up_proj";

const INTERLEAVED: ReadonlySet<string> = new Set(["llama", "granite", "smollm3"]);

/** Path of a GGUF module below a layer, for example `self_attn.q_proj`. */
export function peftModule(module: string, { architecture }: Pick<ModelShape, "architecture">): string {
  const path = architecture === "phi3" && module === "ffn_up" ? FUSED_GATE_UP : MODULES[module];
  if (path !== undefined) return path;
  throw problemError("ADAPTER_INVALID", { subject: `module ${module}`, expected: `one of ${Object.keys(MODULES).join(", ")}`, received: "another one" });
}

/** The GGUF module of a path; undefined: no such module can have an adapter. */
export function ggufModule(path: string, shape: Pick<ModelShape, "architecture">): string | undefined {
  return Object.keys(MODULES).find((module) => peftModule(module, shape) === path);
}

/** Name of half a pair in an adapter of PEFT. */
export function peftName(layer: number, module: string, half: "A" | "B", shape: Pick<ModelShape, "architecture">): string {
  return `base_model.model.model.layers.${String(layer)}.${peftModule(module, shape)}.lora_${half}.weight`;
}

/** Multimodal models have their language model one level further down; PEFT may put the adapter's name before `weight`. */
const NAME_PATTERN = /^base_model\.model\.(?:model\.|language_model\.model\.|model\.language_model\.)layers\.(\d{1,4})\.(.+)\.lora_(A|B)(?:\.default)?\.weight$/u;

/** What a name of PEFT means; undefined: something else than half a pair in a layer. */
export function parsePeftName(name: string): { readonly layer: number; readonly path: string; readonly half: "A" | "B" } | undefined {
  const [, layer, path, half] = NAME_PATTERN.exec(name) ?? [];
  if (layer === undefined || path === undefined || half === undefined) return undefined;
  return { layer: Number.parseInt(layer, 10), path, half: half as "A" | "B" };
}

/** B [d_out, rank] by rows in the module's order, from GGUF's. */
export function rowsToModule(b: Float32Array, module: string, rank: number, shape: ModelShape): Float32Array {
  return reorder(b, module, rank, shape, "toModule");
}

/** The other way round. */
export function rowsToGguf(b: Float32Array, module: string, rank: number, shape: ModelShape): Float32Array {
  return reorder(b, module, rank, shape, "toGguf");
}

function reorder(b: Float32Array, module: string, rank: number, { architecture, numHeads, numKvHeads }: ModelShape, direction: "toModule" | "toGguf"): Float32Array {
  if (!INTERLEAVED.has(architecture) || (module !== "attn_q" && module !== "attn_k")) return b;
  const heads = module === "attn_q" ? numHeads : numKvHeads;
  const length = b.length / rank / heads;
  const half = length / 2;
  const result = new Float32Array(b.length);
  for (let head = 0; head < heads; head++) {
    for (let s = 0; s < 2; s++) {
      for (let j = 0; j < half; j++) {
        const inGguf = (head * length + 2 * j + s) * rank;
        const inModule = (head * length + s * half + j) * rank;
        const [from, to] = direction === "toModule" ? [inGguf, inModule] : [inModule, inGguf];
        result.set(b.subarray(from, from + rank), to);
      }
    }
  }
  return result;
}
