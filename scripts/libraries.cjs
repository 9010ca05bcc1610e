/**
 * Finds the prebuilt llama.cpp libraries: which @node-llama-cpp package serves a platform and a backend, where it is
 * installed, and which llama.cpp release it holds. Shared by the build scripts and by src/native/libraries.ts, so that
 * both always mean the same files. Reports facts only; error messages are the callers' work.
 */
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { createRequire } = require("node:module");

/**
 * Platform package per Node platform and backend. Apple silicon has one package for CPU and GPU alike. Windows is
 * absent: the addon leaves its llama.cpp symbols to the dynamic linker, which Windows does not offer.
 * @type {Readonly<Record<string, Readonly<Record<string, string>>>>}
 */
const PLATFORM_PACKAGES = {
  "linux-x64": { cpu: "linux-x64", vulkan: "linux-x64-vulkan", cuda: "linux-x64-cuda" },
  "linux-arm64": { cpu: "linux-arm64" },
  "darwin-arm64": { cpu: "mac-arm64-metal", metal: "mac-arm64-metal" },
  "darwin-x64": { cpu: "mac-x64" },
};

/**
 * Reads a JSON file, or returns undefined when it does not exist.
 * @param {string} file
 * @returns {Record<string, unknown> | undefined}
 */
function readJson(file) {
  if (!fs.existsSync(file)) return undefined;
  /** @type {unknown} */
  const content = JSON.parse(fs.readFileSync(file, "utf8"));
  return /** @type {Record<string, unknown>} */ (content);
}

/**
 * Folder that holds the package.json of `packageName`, searched as Node would from `fromDir`; undefined when absent.
 * @param {string} fromDir
 * @param {string} packageName
 * @returns {string | undefined}
 */
function findPackageRoot(fromDir, packageName) {
  const searchPaths = createRequire(path.join(fromDir, "package.json")).resolve.paths(packageName) ?? [];
  for (const searchPath of searchPaths) {
    const root = path.join(searchPath, packageName);
    if (fs.existsSync(path.join(root, "package.json"))) return fs.realpathSync(root);
  }
  return undefined;
}

/**
 * The installed node-llama-cpp and the llama.cpp release it is made for; undefined when it is not installed.
 * @param {string} projectRoot
 * @returns {{ root: string, version: string, release: string } | undefined}
 */
function findNodeLlamaCpp(projectRoot) {
  const root = findPackageRoot(projectRoot, "node-llama-cpp");
  if (root === undefined) return undefined;
  const version = readJson(path.join(root, "package.json"))?.["version"];
  const release = readJson(path.join(root, "llama", "binariesGithubRelease.json"))?.["release"];
  return { root, version: String(version), release: String(release) };
}

/**
 * Name of the platform package, for example `@node-llama-cpp/linux-x64`; undefined when there is none.
 * @param {string} platform
 * @param {string} arch
 * @param {string} backend
 * @returns {string | undefined}
 */
function platformPackageName(platform, arch, backend) {
  const name = PLATFORM_PACKAGES[`${platform}-${arch}`]?.[backend];
  return name === undefined ? undefined : `@node-llama-cpp/${name}`;
}

/**
 * Looks a platform package up, first from node-llama-cpp's own folder, then from ours.
 * `release` is absent when the package carries no build metadata.
 * @param {string} projectRoot
 * @param {string} packageName
 * @returns {{ packageName: string, version: string, binsDir: string, release?: string } | undefined}
 */
function findPlatformPackage(projectRoot, packageName) {
  const nodeLlamaCpp = findNodeLlamaCpp(projectRoot);
  for (const fromDir of [nodeLlamaCpp?.root, projectRoot]) {
    if (fromDir === undefined) continue;
    const root = findPackageRoot(fromDir, packageName);
    if (root === undefined) continue;
    const binsDir = path.join(root, "bins", path.basename(packageName));
    if (!fs.existsSync(path.join(binsDir, "llama-addon.node"))) continue;
    const version = String(readJson(path.join(root, "package.json"))?.["version"]);
    const release = readRelease(path.join(binsDir, "_nlcBuildMetadata.json"));
    return release === undefined ? { packageName, version, binsDir } : { packageName, version, binsDir, release };
  }
  return undefined;
}

/**
 * @param {string} metadataFile
 * @returns {string | undefined}
 */
function readRelease(metadataFile) {
  const options = /** @type {{ llamaCpp?: { release?: string } } | undefined} */ (
    readJson(metadataFile)?.["buildOptions"]
  );
  return options?.llamaCpp?.release;
}

module.exports = { PLATFORM_PACKAGES, findNodeLlamaCpp, findPackageRoot, findPlatformPackage, platformPackageName };
