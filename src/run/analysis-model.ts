/** A base model opened for the analysis of data: its tokenizer, template, losses and hidden states. */
import { basename } from "node:path";
import type { AnalysisModel } from "../analysis/model-findings.js";
import { resolveModelPath } from "../config/builtin.js";
import { readEnvironment } from "../config/environment.js";
import type { TemplateName } from "../data/prompt-template.js";
import { BaseModel } from "../native/base-model.js";
import { ensureAddon } from "../native/build.js";
import { NativeTrainer } from "../native/native-trainer.js";
import { Tokenizer } from "../native/tokenizer.js";
import { backendOfDevice, chooseDevice, findDevice, AUTO_DEVICE } from "./device-choice.js";
import { hashFile } from "./file-hash.js";
import { hasLibraries } from "./native-engine.js";
import { modelTemplate } from "./sample-tokens.js";

export interface AnalysisModelOptions {
  /** GGUF file or built-in model. */
  readonly model: string;
  readonly template: TemplateName;
  readonly numThreads: number;
  /** As in a run's configuration; absent: the CPU. */
  readonly device?: string | undefined;
  readonly onProgress?: (line: string) => void;
}

/** Only the base is used; an adapter is never made, but its options say which model fits. Every architecture has this module. */
const UNUSED_ADAPTER = { rank: 1, loraAlpha: 1, targetModules: ["ffn_down"] };

/** Opens it; the caller disposes of it. Throws as BaseModel.open and Tokenizer.open, CONFIG_INVALID for device and template. */
export async function openAnalysisModel(options: AnalysisModelOptions): Promise<{ readonly model: AnalysisModel; dispose(): void }> {
  const { device, numThreads, onProgress } = options;
  const path = resolveModelPath(options.model);
  const native = await ensureAddon({
    backend: backendOfDevice(device, hasLibraries),
    environment: readEnvironment(),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  const deviceName =
    device?.toLowerCase() === AUTO_DEVICE ? await chooseDevice(native.devices, () => Promise.resolve()) : findDevice(native.devices, device);
  const sha256 = await hashFile(path);
  const tokenizer = await Tokenizer.open(native.addon, path);
  const base = await BaseModel.open(native.addon, path, { numThreads, ...(deviceName === "CPU" ? {} : { device: deviceName }) });
  const trainer = new NativeTrainer(base, UNUSED_ADAPTER);
  const { numLayers, embeddingLength } = base.info;
  const model: AnalysisModel = {
    name: base.info.name ?? basename(path),
    sha256,
    tokenizer,
    inference: {
      template: modelTemplate(options.template, tokenizer),
      trainer,
      numLayers,
      width: embeddingLength,
      device: deviceName,
      readHiddenStates: async (samples, boundary, signal) => {
        const longest = samples.reduce((most, { tokens }) => Math.max(most, tokens.length), 1);
        const { offsets, states } = await trainer.hiddenStates({ samples, microBatchTokens: longest }, [boundary], signal);
        return { offsets, states: states[0] ?? new Float32Array(0) };
      },
    },
  };
  return {
    model,
    dispose: () => {
      base.dispose();
      tokenizer.dispose();
    },
  };
}
