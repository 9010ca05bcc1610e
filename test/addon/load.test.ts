/** The real libraries and the real addon in one process, together with node-llama-cpp. */
import { getLlama } from "node-llama-cpp";
import { expect, test } from "vitest";
import { headersRelease, locateLibraries } from "../../src/native/libraries.js";
import { loadNative } from "../../src/native/load.js";

test("the addon loads, names the release of its headers and lists the CPU", () => {
  const native = loadNative();
  expect(native.addon.llamaCppRelease).toBe(headersRelease());
  expect(native.release).toBe(locateLibraries("cpu").release);
  expect(native.devices.map((device) => device.type)).toContain("cpu");
});

test("loading again returns the same addon", () => {
  expect(loadNative()).toBe(loadNative());
});

test("node-llama-cpp joins in with the same libraries", async () => {
  const native = loadNative();
  const llama = await getLlama({ gpu: false, build: "never", progressLogs: false });
  expect(llama.llamaCppRelease.release).toBe(native.release);
  await llama.dispose();
});
