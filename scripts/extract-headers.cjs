/**
 * Takes the C headers of ggml and llama.cpp out of the git bundle inside the installed node-llama-cpp package and puts
 * them into native/deps/include, together with a header that names the release. A repeated call does nothing.
 * The packed tarball carries the result, so only a source checkout needs git for this.
 *
 * Command line: `extract-headers.cjs` | `--vocab DIR` (vocabulary-only GGUF models, for tokenizer tests)
 * | `--sources DIR` (the whole llama.cpp source tree, for builds of other backends).
 */
"use strict";

const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const { execFileSync } = require("node:child_process");
const { findNodeLlamaCpp } = require("./libraries.cjs");

const PROJECT_ROOT = path.resolve(__dirname, "..");
const INCLUDE_DIR = path.join(PROJECT_ROOT, "native", "deps", "include");
const RELEASE_HEADER = "fedllm_llama_release.h";

/**
 * Release named by the headers that are already there; undefined when there are none.
 * @returns {string | undefined}
 */
function extractedRelease() {
  const file = path.join(INCLUDE_DIR, RELEASE_HEADER);
  if (!fs.existsSync(file)) return undefined;
  return /FEDLLM_LLAMA_RELEASE "([^"]+)"/u.exec(fs.readFileSync(file, "utf8"))?.[1];
}

/**
 * Writes the files below `paths` of the bundled llama.cpp commit into `targetDir`, keeping their folders.
 * The fetched repository is scratch of some 34 MB and is deleted again.
 * @param {string} bundle
 * @param {readonly string[]} paths pathspecs of git
 * @param {string} targetDir
 */
function checkoutFromBundle(bundle, paths, targetDir) {
  const gitDir = fs.mkdtempSync(path.join(os.tmpdir(), "fedllm-llama-"));
  /** @param {readonly string[]} args */
  const git = (args) => {
    execFileSync("git", ["-c", "core.autocrlf=false", "-c", "advice.detachedHead=false", ...args], {
      stdio: ["ignore", "ignore", "pipe"],
      env: gitEnvironment(),
    });
  };
  try {
    fs.mkdirSync(targetDir, { recursive: true });
    git(["init", "--quiet", "--bare", gitDir]);
    git([`--git-dir=${gitDir}`, "fetch", "--quiet", bundle, "HEAD:refs/heads/release"]);
    git([`--git-dir=${gitDir}`, `--work-tree=${targetDir}`, "checkout", "--quiet", "release", "--", ...paths]);
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error);
    throw new Error(`cannot unpack ${bundle} with git (is git installed?): ${detail}`, { cause: error });
  } finally {
    fs.rmSync(gitDir, { recursive: true, force: true });
  }
}

/** Environment without the GIT_ variables that a hook or a surrounding repository may have set. */
function gitEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GIT_")));
}

/** @returns {{ bundle: string, release: string }} */
function findBundle() {
  const installed = findNodeLlamaCpp(PROJECT_ROOT);
  if (installed === undefined) {
    throw new Error("node-llama-cpp is not installed; run `npm ci` in the project folder first");
  }
  return { bundle: path.join(installed.root, "llama", "gitRelease.bundle"), release: installed.release };
}

/**
 * Makes sure that native/deps/include holds the headers of the installed node-llama-cpp's llama.cpp release.
 * @returns {string} the release
 */
function ensureHeaders() {
  const present = extractedRelease();
  const wanted = findNodeLlamaCpp(PROJECT_ROOT)?.release;
  if (present !== undefined && (wanted === undefined || wanted === present)) return present;

  const { bundle, release } = findBundle();
  fs.mkdirSync(path.dirname(INCLUDE_DIR), { recursive: true });
  const scratch = fs.mkdtempSync(path.join(path.dirname(INCLUDE_DIR), "include-"));
  try {
    checkoutFromBundle(bundle, ["include", "ggml/include", "LICENSE"], scratch);
    const flat = path.join(scratch, "flat");
    fs.mkdirSync(flat);
    for (const folder of ["include", "ggml/include"]) {
      for (const name of fs.readdirSync(path.join(scratch, folder))) {
        if (name.endsWith(".h")) fs.copyFileSync(path.join(scratch, folder, name), path.join(flat, name));
      }
    }
    fs.copyFileSync(path.join(scratch, "LICENSE"), path.join(flat, "LICENSE"));
    fs.writeFileSync(
      path.join(flat, RELEASE_HEADER),
      "// Made by scripts/extract-headers.cjs: the llama.cpp release these headers belong to.\n" +
        `#pragma once\n#define FEDLLM_LLAMA_RELEASE "${release}"\n`,
    );
    fs.rmSync(INCLUDE_DIR, { recursive: true, force: true });
    fs.renameSync(flat, INCLUDE_DIR);
  } finally {
    fs.rmSync(scratch, { recursive: true, force: true });
  }
  return release;
}

/** @param {readonly string[]} args */
function main(args) {
  const [option, directory] = args;
  if (option === undefined) {
    console.log(`llama.cpp ${ensureHeaders()} headers: ${INCLUDE_DIR}`);
  } else if (option === "--vocab" && directory !== undefined) {
    checkoutFromBundle(findBundle().bundle, [":(glob)models/ggml-vocab-*.gguf"], path.resolve(directory));
  } else if (option === "--sources" && directory !== undefined) {
    checkoutFromBundle(findBundle().bundle, ["."], path.resolve(directory));
  } else {
    throw new Error("usage: extract-headers.cjs [--vocab DIR | --sources DIR]");
  }
}

module.exports = { INCLUDE_DIR, ensureHeaders };

if (require.main === module) {
  try {
    main(process.argv.slice(2));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
