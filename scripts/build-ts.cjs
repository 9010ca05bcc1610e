/**
 * Compiles src/ to dist/, copies the files that are not TypeScript (SQL, JSON) and makes the command executable.
 * As an installed dependency there is nothing to do: the tarball carries dist/.
 */
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const { spawnSync } = require("node:child_process");

const PROJECT_ROOT = path.resolve(__dirname, "..");
const SOURCE_DIR = path.join(PROJECT_ROOT, "src");
const DIST_DIR = path.join(PROJECT_ROOT, "dist");
/** The build grows here and replaces dist/ when it is complete, so that a failed build leaves the old one. */
const NEXT_DIR = path.join(PROJECT_ROOT, "dist.next");

/** Compiles into NEXT_DIR; throws when tsc reports an error. */
function compile() {
  const tsc = path.join(path.dirname(require.resolve("typescript/package.json")), "bin", "tsc");
  const args = [tsc, "-p", path.join(PROJECT_ROOT, "tsconfig.build.json"), "--outDir", NEXT_DIR];
  const result = spawnSync(process.execPath, args, { stdio: "inherit" });
  if (result.status !== 0) throw new Error("the TypeScript build failed; the compiler's messages are above");
}

/** Copies every file of src/ that tsc does not handle to the same place in NEXT_DIR. */
function copyAssets() {
  for (const entry of fs.readdirSync(SOURCE_DIR, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || entry.name.endsWith(".ts")) continue;
    const source = path.join(entry.parentPath, entry.name);
    const target = path.join(NEXT_DIR, path.relative(SOURCE_DIR, source));
    fs.mkdirSync(path.dirname(target), { recursive: true });
    fs.copyFileSync(source, target);
  }
}

function main() {
  if (!fs.existsSync(SOURCE_DIR)) return;
  fs.rmSync(NEXT_DIR, { recursive: true, force: true });
  compile();
  copyAssets();
  const command = path.join(NEXT_DIR, "cli", "main.js");
  if (fs.existsSync(command)) fs.chmodSync(command, 0o755);
  fs.rmSync(DIST_DIR, { recursive: true, force: true });
  fs.renameSync(NEXT_DIR, DIST_DIR);
}

try {
  main();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
