import { homedir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readDataEnvironment } from "../../../src/config/data-environment.js";

test("folders, hub and proxies by their variables", () => {
  const variables = { FEDLLM_DATA_DIR: "/d", HF_HOME: "/hf", HF_TOKEN: " t\n", HF_ENDPOINT: "https://mirror/", HF_HUB_OFFLINE: "1", HTTPS_PROXY: "http://p:1", no_proxy: "x" };
  expect(readDataEnvironment(variables, "linux")).toEqual({
    dataDir: "/d",
    hub: { endpoint: "https://mirror", cacheDir: join("/hf", "hub"), token: "t", isOffline: true },
    proxies: { httpsProxy: "http://p:1", noProxy: "x" },
  });
});

test("the usual places when nothing is set", () => {
  expect(readDataEnvironment({ HF_HUB_OFFLINE: "0", HF_TOKEN: "" }, "linux")).toEqual({
    dataDir: join(homedir(), ".local", "share", "fedllm-native", "data"),
    hub: { endpoint: "https://huggingface.co", cacheDir: join(homedir(), ".cache", "huggingface", "hub"), isOffline: false },
    proxies: {},
  });
  expect(readDataEnvironment({ HF_HUB_CACHE: "/c", HF_HOME: "/h" }, "linux").hub.cacheDir).toBe("/c");
  expect(readDataEnvironment({}, "darwin").dataDir).toBe(join(homedir(), "Library", "Application Support", "fedllm-native", "data"));
});
