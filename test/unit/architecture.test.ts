/**
 * The rules of the code base that no compiler checks: who may import whom, who may print, read the environment, write
 * SQL or load native code, how long a file may be. It reads the sources as text; a finding names file and line.
 */
import { readFileSync, readdirSync } from "node:fs";
import { dirname, extname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { STRATEGY_NAMES } from "../../src/federated/strategies/registry.js";

const PROJECT_ROOT = resolve(import.meta.dirname, "..", "..");
const SKIPPED_FOLDERS = new Set(["node_modules", "dist", "build", "deps", "prebuilds", "golden"]);
/** Longer files are split by subject. */
const FILE_LINES_MAX = 400;

interface SourceFile {
  /** Relative to the project, with forward slashes. */
  readonly path: string;
  readonly lines: readonly string[];
}

function readSources(folder: string, extensions: readonly string[]): SourceFile[] {
  return listFiles(join(PROJECT_ROOT, folder))
    .filter((file) => extensions.includes(extname(file)))
    .map((file) => ({
      path: relative(PROJECT_ROOT, file).replaceAll("\\", "/"),
      lines: readFileSync(file, "utf8").trimEnd().split("\n"),
    }));
}

function listFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return SKIPPED_FOLDERS.has(entry.name) ? [] : listFiles(path);
    return [path];
  });
}

const typescript = readSources("src", [".ts"]);
const native = readSources("native", [".cpp", ".h"]);
const tests = readSources("test", [".ts"]);
const scripts = readSources("scripts", [".cjs"]);

/** Lines that match, as `file:line: text`. Comment lines count only if `inComments` is set. */
function findLines(files: readonly SourceFile[], pattern: RegExp, options: { inComments?: boolean } = {}): string[] {
  return files.flatMap(({ path, lines }) =>
    lines.flatMap((line, index) => {
      const isComment = /^\s*(\/\/|\/?\*)/u.test(line);
      if (isComment && options.inComments !== true) return [];
      return pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [];
    }),
  );
}

interface ImportEdge {
  readonly file: string;
  /** Project path of a relative import, or the package name. */
  readonly target: string;
}

function importsOf(files: readonly SourceFile[]): ImportEdge[] {
  const pattern = /(?:\bfrom\s+|\bimport\s*\(?\s*)["']([^"']+)["']/gu;
  return files.flatMap(({ path, lines }) =>
    [...lines.join("\n").matchAll(pattern)].map((match) => {
      const specifier = match[1] ?? "";
      const target = specifier.startsWith(".") ? join(dirname(path), specifier).replaceAll("\\", "/") : specifier;
      return { file: path, target };
    }),
  );
}

/** Imports from files in `from` whose target starts with one of `targets`. */
function importsFrom(from: string, targets: readonly string[]): string[] {
  return importsOf(typescript)
    .filter(({ file, target }) => file.startsWith(from) && targets.some((start) => target.startsWith(start)))
    .map(({ file, target }) => `${file} imports ${target}`);
}

const except = (files: readonly SourceFile[], ...starts: string[]): SourceFile[] =>
  files.filter(({ path }) => !starts.some((start) => path.startsWith(start)));

describe("imports", () => {
  test("the reader of import lines sees static, type-only and dynamic imports", () => {
    const lines = ['import { a } from "./a.js";', 'import type { B } from "../b.js";', 'await import("node:fs");'];
    expect(importsOf([{ path: "src/x/y.ts", lines }]).map(({ target }) => target)).toEqual([
      "src/x/a.js",
      "src/b.js",
      "node:fs",
    ]);
  });

  test("federated knows no trainer, no database, no command line", () => {
    const forbidden = ["src/native/", "src/metrics/", "src/cli/", "src/report/", "src/run/", "src/config/"];
    expect(importsFrom("src/federated/", forbidden)).toEqual([]);
  });

  test("federated touches no files, its checkpoint and the clients' states beside it excepted", () => {
    const found = importsFrom("src/federated/", ["fs", "node:fs"]);
    expect(found.filter((line) => !/^src\/federated\/(checkpoint|client-state-files)\.ts/u.test(line))).toEqual([]);
  });

  test("native uses of the federation only its trainer interface", () => {
    const found = importsFrom("src/native/", ["src/federated/", "src/metrics/", "src/cli/", "src/run/", "src/data/"]);
    expect(found.filter((line) => !line.endsWith("src/federated/local-trainer.js"))).toEqual([]);
  });

  test.each(["data", "figures", "metrics", "privacy", "secagg", "adapter", "util", "wire"])("%s stands at the bottom", (folder) => {
    const upper = ["analysis", "cli", "federated", "native", "run", "report", "executor"].map((name) => `src/${name}/`);
    // The data folder produces what the trainer interface takes, and names it with that interface's types.
    const allowed = folder === "data" ? "src/federated/local-trainer.js" : undefined;
    const found = importsFrom(`src/${folder}/`, upper);
    expect(found.filter((line) => allowed === undefined || !line.endsWith(allowed))).toEqual([]);
  });

  test("the analysis of data uses of the federation only its trainer interface, and prints and configures nothing", () => {
    const forbidden = ["src/federated/", "src/native/", "src/metrics/", "src/cli/", "src/report/", "src/run/", "src/config/"];
    const found = importsFrom("src/analysis/", forbidden);
    expect(found.filter((line) => !line.endsWith("src/federated/local-trainer.js"))).toEqual([]);
    expect(typescript.some(({ path }) => path.startsWith("src/analysis/"))).toBe(true);
  });

  test("the server is for the command line alone, and knows no trainer and no database", () => {
    const found = importsFrom("src/", ["src/serve/"]);
    expect(found.filter((line) => !/^src\/(serve|cli)\//u.test(line))).toEqual([]);
    expect(importsFrom("src/serve/", ["src/federated/", "src/metrics/", "src/cli/", "src/report/", "src/judge/"])).toEqual([]);
  });

  test("judges know no trainer, no run and no command line", () => {
    const forbidden = ["src/federated/", "src/metrics/", "src/cli/", "src/report/", "src/serve/", "src/experiment"];
    expect(importsFrom("src/judge/", forbidden)).toEqual([]);
  });

  test("node-llama-cpp is for generation alone", () => {
    expect(importsFrom("src/", ["node-llama-cpp"]).filter((line) => !/^src\/(generation|serve|judge\/local)/u.test(line))).toEqual([]);
  });

  test("only downloads, judges and trackers ask the network, only the server and the dashboard listen to it", () => {
    const asking = importsFrom("src/", ["undici", "node:https", "node:tls"]);
    expect(asking.filter((line) => !/^src\/(data\/download|judge|tracking)\//u.test(line))).toEqual([]);
    const listening = importsFrom("src/", ["node:http", "node:net", "node:dgram"]).filter((line) => !line.endsWith("node:https"));
    expect(listening.filter((line) => !/^src\/(serve|report\/dashboard)\//u.test(line))).toEqual([]);
    expect(findLines(typescript, /(?<![\w.])fetch\(/u)).toEqual([]);
  });

  test("only the command line is built on the command line", () => {
    const found = importsFrom("src/", ["src/cli/"]);
    expect(found.filter((line) => !line.startsWith("src/cli/"))).toEqual([]);
  });

  test("the contract is for tests: the program does without it, and it does without a test program", () => {
    const found = importsFrom("src/", ["src/contract/", "vitest"]);
    expect(found.filter((line) => !/^src\/contract\/\S+ imports src\/contract\//u.test(line))).toEqual([]);
  });

  test("packages that take long to load are loaded when they are needed", () => {
    const slow = ["@resvg/resvg-wasm", "tinyld"];
    const pattern = new RegExp(`^import (?!type ).*from "(?:${slow.join("|")})"`, "u");
    expect(findLines(typescript, pattern)).toEqual([]);
  });

  test("no source imports a test", () => {
    expect(importsFrom("src/", ["test/"])).toEqual([]);
    expect(findLines(scripts, /require\(["'][^"']*\/test\//u)).toEqual([]);
  });
});

describe("who may do what", () => {
  test("only src/native opens shared libraries", () => {
    expect(findLines(except(typescript, "src/native/"), /process\.dlopen|fedllm_native\.node/u)).toEqual([]);
  });

  test("only the command line prints and sets the exit code", () => {
    const pattern = /\bconsole\.|process\.(stdout|stderr)\b|process\.exit/u;
    expect(findLines(except(typescript, "src/cli/"), pattern)).toEqual([]);
  });

  test("only src/config reads environment variables", () => {
    expect(findLines(except(typescript, "src/config/"), /process\.env\b/u)).toEqual([]);
  });

  test("only the stores and their schemas write SQL", () => {
    const pattern = /\b(INSERT (OR \w+ )?INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE|DROP TABLE)\b/u;
    const folders = ["metrics", "analysis", "benchmarks"].flatMap((folder) => [`src/${folder}/store.ts`, `src/${folder}/schema.ts`]);
    const others = except(typescript, ...folders, "src/judge/cache.ts", "src/privacy/ledger");
    expect(findLines(others, pattern)).toEqual([]);
  });

  test("only the registry and their own files know strategies by name", () => {
    const names = STRATEGY_NAMES.join("|");
    const others = except(typescript, "src/federated/strategies/");
    expect(findLines(others, new RegExp(`["'\`](?:${names})["'\`]`, "u"))).toEqual([]);
  });

  test("napi.h stays in native/addon", () => {
    expect(findLines(except(native, "native/addon/"), /#include\s*[<"](napi|node_api)/u)).toEqual([]);
  });

  test("the core includes nothing of the addon and of llama.h", () => {
    const core = native.filter(({ path }) => path.startsWith("native/core/"));
    expect(findLines(core, /#include\s*[<"](\.\.\/|addon\/|llama\.h|llama-cpp\.h)/u)).toEqual([]);
  });

  test("the core does not know of federation", () => {
    const core = native.filter(({ path }) => path.startsWith("native/core/"));
    expect(findLines(core, /\b(clients?|servers?|cohorts?)\b/iu, { inComments: true })).toEqual([]);
  });
});

describe("form", () => {
  test(`no file is longer than ${FILE_LINES_MAX} lines`, () => {
    const all = [...typescript, ...native, ...tests, ...scripts];
    const long = all.filter(({ lines }) => lines.length > FILE_LINES_MAX);
    expect(long.map(({ path, lines }) => `${path}: ${lines.length} lines`)).toEqual([]);
  });

  test("every source opens by saying what it is for", () => {
    const silent = [...typescript, ...native, ...scripts].filter(({ lines }) => {
      const first = lines[0]?.startsWith("#!") === true ? lines[1] : lines[0];
      return !/^\/[/*]/u.test(first ?? "");
    });
    expect(silent.map(({ path }) => path)).toEqual([]);
  });

  test("nothing is left for later in the text", () => {
    const words = ["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"];
    const pattern = new RegExp(`\\b(${words.join("|")})\\b`, "u");
    expect(findLines([...typescript, ...native, ...tests, ...scripts], pattern, { inComments: true })).toEqual([]);
  });
});
