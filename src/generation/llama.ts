/**
 * node-llama-cpp in this process, for text by llama.cpp's own loop: `serve` and local judges. It loads the very libraries that the addon is
 * bound to (native/load.ts), so both work side by side as long as the backend is the same; nothing is ever compiled or downloaded here.
 */
import { LlamaLogLevel, getLlama } from "node-llama-cpp";
import type { Llama } from "node-llama-cpp";
import type { GenerationDevice } from "../config/names.js";
import { problemError } from "../errors.js";
import type { NativeBackend } from "../native/libraries.js";
import { loadedBackend } from "../native/load.js";
import { backendOfDevice } from "../run/device-choice.js";
import { hasLibraries } from "../run/native-engine.js";

export interface OpenLlama {
  readonly llama: Llama;
  /** Layers on the card; absent: as many as fit. */
  readonly gpuLayers?: 0;
}

/** The backend that a device means. */
export function backendOf(device: GenerationDevice): NativeBackend {
  return backendOfDevice(device, hasLibraries);
}

/**
 * Opens the libraries; the caller disposes of them. A process has one set of them: where the addon has loaded another one, the processor of that
 * one computes. Rejects with NATIVE_UNAVAILABLE when there are none for the device, NATIVE_MISMATCH when others are loaded.
 */
export async function openLlama(device: GenerationDevice): Promise<OpenLlama> {
  const already = loadedBackend();
  const wanted = device === "auto" && already !== undefined ? already : backendOf(device);
  const loaded = already ?? wanted;
  if (wanted !== "cpu" && loaded !== wanted) {
    throw problemError("NATIVE_MISMATCH", {
      subject: "llama.cpp libraries of this process",
      expected: `those for ${wanted}`,
      received: `those for ${loaded}, which are already loaded`,
      remedy: "Choose the same device for everything that one command does",
    });
  }
  const llama = await openLibraries(loaded);
  return wanted === "cpu" ? { llama, gpuLayers: 0 } : { llama };
}

async function openLibraries(backend: NativeBackend): Promise<Llama> {
  try {
    return await getLlama({
      gpu: backend === "cpu" ? false : backend,
      build: "never",
      skipDownload: true,
      progressLogs: false,
      logLevel: LlamaLogLevel.disabled,
      // Contexts say exactly how many threads they take.
      maxThreads: 0,
    });
  } catch (error) {
    const problem = {
      subject: `node-llama-cpp for ${backend}`,
      expected: "libraries that can be loaded",
      received: error instanceof Error ? error.message : String(error),
      remedy: "Choose another device, or install its package; `fedllm-native doctor` shows which there are",
    };
    throw problemError("NATIVE_UNAVAILABLE", problem, error);
  }
}
