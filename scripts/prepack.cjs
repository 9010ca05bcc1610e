/**
 * Prepares the tarball: headers in native/deps/include, the addon of this platform in prebuilds/.
 * npm itself runs `prepare` after this, which compiles dist/.
 * Prebuilt addons of other platforms that lie in prebuilds/ already travel along.
 */
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { buildNative } = require("./build-native.cjs");
const { ensureHeaders } = require("./extract-headers.cjs");

const PROJECT_ROOT = path.resolve(__dirname, "..");
const ADDON = "fedllm_native.node";

function main() {
  ensureHeaders();
  const resultDir = buildNative({ target: "fedllm_native" });
  const prebuildDir = path.join(PROJECT_ROOT, "prebuilds", `${process.platform}-${process.arch}`);
  fs.mkdirSync(prebuildDir, { recursive: true });
  fs.copyFileSync(path.join(resultDir, ADDON), path.join(prebuildDir, ADDON));
}

try {
  main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
