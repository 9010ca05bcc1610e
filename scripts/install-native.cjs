/**
 * npm's install step. In a source checkout it builds the addon and fails loudly. As a dependency it uses the prebuilt
 * addon when that loads, else builds; if that is impossible it prints what to do and succeeds, since the command builds
 * the addon on first use. An explicit install script also keeps npm from starting node-gyp for binding.gyp.
 */
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { spawnSync } = require("node:child_process");
const { buildNative } = require("./build-native.cjs");
const { findPlatformPackage, platformPackageName } = require("./libraries.cjs");

const PROJECT_ROOT = path.resolve(__dirname, "..");
const ADDON = "fedllm_native.node";

/** Loads libraries and addon as src/native/load.ts does; run in a process of its own. */
const LOAD_PROGRAM = `
  const { RTLD_NOW, RTLD_GLOBAL } = require("node:os").constants.dlopen;
  process.dlopen({ exports: {} }, process.argv[1], RTLD_NOW | RTLD_GLOBAL);
  process.dlopen({ exports: {} }, process.argv[2], RTLD_NOW);
`;

/**
 * Whether the prebuilt addon loads here. Without the platform package it cannot be tried and is trusted.
 * @param {string} prebuild
 * @returns {boolean}
 */
function prebuildLoads(prebuild) {
  if (!fs.existsSync(prebuild)) return false;
  const packageName = platformPackageName(process.platform, process.arch, "cpu");
  const libraries = packageName === undefined ? undefined : findPlatformPackage(PROJECT_ROOT, packageName);
  if (libraries === undefined) return true;
  const args = ["-e", LOAD_PROGRAM, path.join(libraries.binsDir, "llama-addon.node"), prebuild];
  return spawnSync(process.execPath, args, { stdio: "ignore" }).status === 0;
}

function installAsDependency() {
  const prebuild = path.join(PROJECT_ROOT, "prebuilds", `${process.platform}-${process.arch}`, ADDON);
  if (prebuildLoads(prebuild)) return;
  try {
    buildNative({ target: "fedllm_native" });
  } catch (error) {
    console.warn(
      `fedllm-native: the native addon could not be built now (${error instanceof Error ? error.message : String(error)}). ` +
        "It will be built on first use; to do it by hand: npx fedllm-native native build",
    );
  }
}

const isCheckout = fs.existsSync(path.join(PROJECT_ROOT, "src"));
if (isCheckout) {
  try {
    buildNative({ target: "fedllm_native" });
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
} else {
  installAsDependency();
}
