/** A program that loads the model in its first argument, scores a sample so that all weights are read, says so, and waits. */
import { BaseModel } from "../../src/native/base-model.js";
import { loadNative } from "../../src/native/load.js";
import { NativeTrainer } from "../../src/native/native-trainer.js";
import { TINY_BOS } from "../fixtures/tiny-gguf.js";

const path = process.argv[2];
if (path === undefined) throw new Error("usage: model-holder GGUF");
const model = await BaseModel.open(loadNative().addon, path, { numThreads: 1 });
const trainer = new NativeTrainer(model, { rank: 2, loraAlpha: 4, targetModules: ["attn_q"] });
const tokens = Int32Array.from({ length: 24 }, (_, index) => (index === 0 ? TINY_BOS : 270 + index));
const supervised = Uint8Array.from({ length: 24 }, (_, index) => (index > 0 ? 1 : 0));
await trainer.evaluate({ weights: trainer.initialWeights(0), samples: [{ tokens, supervised }], microBatchTokens: 64 });
console.log("loaded");
process.stdin.on("data", () => {
  process.exit(0);
});
