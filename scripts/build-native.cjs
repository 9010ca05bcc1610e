/**
 * Builds native/CMakeLists.txt with cmake-js: extracts the headers, checks the tools, configures, builds.
 * Used by the install script, by binding.gyp, by `npm run build:native` and by `fedllm-native native build`.
 *
 * Command line: `[--target NAME] [--out DIR] [--sanitize] [--debug]`. Without a target everything is built;
 * the default output folder is native/build. `--sanitize` builds into native/build/sanitize.
 */
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { spawnSync } = require("node:child_process");
const { parseArgs } = require("node:util");
const { ensureHeaders } = require("./extract-headers.cjs");
const { findPlatformPackage, platformPackageName } = require("./libraries.cjs");

const PROJECT_ROOT = path.resolve(__dirname, "..");
const NATIVE_DIR = path.join(PROJECT_ROOT, "native");
/** Longest wait for another build of the same folder; a full build on a slow laptop takes a few minutes. */
const LOCK_WAIT_MS = 15 * 60 * 1000;

/** @returns {string} the one line that installs compiler and CMake here */
function installHint() {
  if (process.platform === "darwin") return "xcode-select --install && brew install cmake ninja";
  if (process.platform === "win32") return "wsl --install (Windows itself is not supported)";
  return "sudo apt-get install -y build-essential cmake ninja-build git";
}

/**
 * @param {string} command
 * @returns {boolean}
 */
function isInstalled(command) {
  const result = spawnSync(command, ["--version"], { stdio: "ignore" });
  return result.error === undefined && result.status === 0;
}

/** Throws when CMake or a C++ compiler is missing, with the line that installs them. */
function checkTools() {
  const compilers = ["g++", "clang++", "c++"];
  const missing = [];
  if (!isInstalled("cmake")) missing.push("CMake");
  if (!compilers.some(isInstalled)) missing.push("a C++ compiler");
  if (missing.length > 0) {
    throw new Error(`Building the native part needs ${missing.join(" and ")}. Install with: ${installHint()}`);
  }
}

/**
 * Runs one cmake-js command; output goes to the terminal.
 * @param {string} command
 * @param {readonly string[]} args
 * @returns {boolean} whether it succeeded
 */
function runCmakeJs(command, args) {
  const cli = path.join(path.dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
  const result = spawnSync(process.execPath, [cli, command, "-l", "warn", ...args], { stdio: "inherit" });
  return result.status === 0;
}

/**
 * Calls `action` while no other process builds into `outDir`. The lock file holds the builder's process id; a lock of
 * a process that is gone is taken over.
 * @template T
 * @param {string} outDir
 * @param {() => T} action
 * @returns {T}
 */
function withBuildLock(outDir, action) {
  fs.mkdirSync(outDir, { recursive: true });
  const lockFile = path.join(outDir, ".build-lock");
  const deadline = Date.now() + LOCK_WAIT_MS;
  while (!tryLock(lockFile)) {
    if (Date.now() > deadline) throw new Error(`another build holds ${lockFile}; delete it if no build is running`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
  }
  try {
    return action();
  } finally {
    fs.rmSync(lockFile, { force: true });
  }
}

/**
 * @param {string} lockFile
 * @returns {boolean}
 */
function tryLock(lockFile) {
  try {
    fs.writeFileSync(lockFile, String(process.pid), { flag: "wx" });
    return true;
  } catch {
    if (!isHolderAlive(lockFile)) fs.rmSync(lockFile, { force: true });
    return false;
  }
}

/**
 * @param {string} lockFile
 * @returns {boolean}
 */
function isHolderAlive(lockFile) {
  try {
    const text = fs.readFileSync(lockFile, "utf8");
    // An empty file is a lock whose holder has not yet written its id.
    if (text === "") return true;
    process.kill(Number(text), 0);
    return true;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/**
 * Builds one target (or all) and returns the folder with the results.
 * @param {{ target?: string, outDir?: string, sanitize?: boolean, debug?: boolean }} options
 * @returns {string}
 */
function buildNative(options) {
  const defaultOut = path.join(NATIVE_DIR, "build", options.sanitize === true ? "sanitize" : "");
  const outDir = path.resolve(options.outDir ?? defaultOut);
  const configuration = options.debug === true ? "Debug" : "Release";
  const libsDir = findCpuLibraries();
  if (libsDir === undefined && options.target?.startsWith("core_") === true) {
    throw new Error(`${options.target} needs the prebuilt libraries: run \`npm ci\` without --omit=optional`);
  }

  checkTools();
  ensureHeaders();
  const common = ["-d", NATIVE_DIR, "-O", outDir, "-B", configuration];
  const definitions = [
    ...(libsDir === undefined ? [] : [`--CDFEDLLM_LIBS_DIR=${libsDir}`]),
    `--CDFEDLLM_SANITIZE=${options.sanitize === true ? "ON" : "OFF"}`,
  ];
  const target = options.target === undefined ? [] : ["-T", options.target];

  withBuildLock(outDir, () => {
    if (!runCmakeJs("configure", [...common, ...definitions])) {
      // A cache made by another generator or at another place cannot be reused; one fresh attempt settles it.
      fs.rmSync(path.join(outDir, "CMakeCache.txt"), { force: true });
      fs.rmSync(path.join(outDir, "CMakeFiles"), { recursive: true, force: true });
      if (!runCmakeJs("configure", [...common, ...definitions])) throw new Error("CMake could not configure the build");
    }
    if (!runCmakeJs("build", [...common, ...target, "-p", String(os.availableParallelism())])) {
      throw new Error("the native build failed; the compiler's messages are above");
    }
  });
  return path.join(outDir, configuration);
}

/** @returns {string | undefined} folder of the CPU libraries for this machine */
function findCpuLibraries() {
  const name = platformPackageName(process.platform, process.arch, "cpu");
  return name === undefined ? undefined : findPlatformPackage(PROJECT_ROOT, name)?.binsDir;
}

module.exports = { buildNative };

if (require.main === module) {
  try {
    const { values } = parseArgs({
      options: {
        target: { type: "string" },
        out: { type: "string" },
        sanitize: { type: "boolean", default: false },
        debug: { type: "boolean", default: false },
      },
    });
    const resultDir = buildNative({
      ...(values.target === undefined ? {} : { target: values.target }),
      ...(values.out === undefined ? {} : { outDir: values.out }),
      sanitize: values.sanitize,
      debug: values.debug,
    });
    console.log(`native build: ${resultDir}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
