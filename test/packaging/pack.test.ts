/**
 * The packed tarball, installed into an empty folder with all install scripts blocked, as npm does by default for
 * dependencies. Then: the command starts, the prebuilt addon loads, the missing SQLite binding is built on first use,
 * and without the prebuilt addon the command builds one into the user's cache. Needs the package registry or a filled
 * npm cache; outside CI the tests are skipped, with the reason, when npm cannot install.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { platformPackageName } from "../../scripts/libraries.cjs";
import { packageVersion, pinnedNodeLlamaCppVersion } from "../../src/native/libraries.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const PROJECT_ROOT = resolve(import.meta.dirname, "..", "..");
const INSTALL_OPTIONS = ["--ignore-scripts", "--omit=optional", "--prefer-offline", "--no-audit", "--no-fund"];

interface ProgramResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

let folder = "";
let installProblem: string | undefined;

/** Runs a program in the installation's folder, without the npm_ variables of the npm that started these tests. */
function run(command: string, args: readonly string[], options: { cwd?: string; cacheDir?: string } = {}): ProgramResult {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(npm_|INIT_CWD$|NODE_ENV$|VITEST)/iu.test(name));
  const result = spawnSync(command, args, {
    cwd: options.cwd ?? folder,
    encoding: "utf8",
    env: {
      ...Object.fromEntries(inherited),
      FEDLLM_CACHE_DIR: options.cacheDir ?? join(folder, "cache"),
    },
  });
  return { status: result.status, stdout: result.stdout, stderr: result.stderr };
}

/** Runs the installed command. */
function runCommand(args: readonly string[]): ProgramResult {
  return run("npx", ["--no-install", "fedllm-native", ...args]);
}

/** Loads the installed addon in a process of its own and returns where it came from and how many devices it sees. */
function loadInstalledAddon(): { addonPath: string; numDevices: number } {
  const program = `
    import { loadNative } from "./node_modules/fedllm-native/dist/native/load.js";
    const { addonPath, devices } = loadNative();
    console.log(JSON.stringify({ addonPath, numDevices: devices.length }));`;
  const result = run(process.execPath, ["--input-type=module", "--eval", program]);
  expect(result.status, result.stderr).toBe(0);
  return JSON.parse(result.stdout.trim().split("\n").at(-1) ?? "") as { addonPath: string; numDevices: number };
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "fedllm-pack-"));
  const packed = run("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: PROJECT_ROOT });
  if (packed.status !== 0) throw new Error(`npm pack failed: ${packed.stdout}${packed.stderr}`);
  const tarball = join(folder, `fedllm-native-${packageVersion()}.tgz`);

  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "empty", private: true }));
  const platformPackage = platformPackageName(process.platform, process.arch, "cpu") ?? "";
  const packages = [tarball, `${platformPackage}@${pinnedNodeLlamaCppVersion()}`];
  const installed = run("npm", ["install", ...INSTALL_OPTIONS, ...packages]);
  if (installed.status === 0) return;
  const inCi = process.env["CI"] !== undefined;
  if (inCi) throw new Error(`npm install failed: ${installed.stderr}`);
  installProblem = `npm cannot install here: ${installed.stderr.trim().split("\n")[0] ?? "no message"}`;
});

afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("installed tarball", () => {
  beforeEach((context) => {
    if (installProblem !== undefined) context.skip(installProblem);
  });

  test("has the command, the types, the headers and no test or source", () => {
    const root = join(folder, "node_modules", "fedllm-native");
    for (const path of ["dist/cli/main.js", "dist/index.d.ts", "native/deps/include/llama.h", "LICENSE", "README.md"]) {
      expect(existsSync(join(root, path)), path).toBe(true);
    }
    for (const path of ["src", "test", "native/test", "native/build"]) {
      expect(existsSync(join(root, path)), path).toBe(false);
    }
  });

  test("the command prints its version", () => {
    const result = runCommand(["--version"]);
    expect(result.stdout.trim()).toBe(packageVersion());
    expect(result.status).toBe(0);
  });

  test("the library entry can be imported by its name", () => {
    const program = 'import("fedllm-native").then((library) => console.log(Object.keys(library).length > 0));';
    expect(run(process.execPath, ["--eval", program]).stdout.trim()).toBe("true");
  });

  test("the prebuilt addon loads", () => {
    const { addonPath, numDevices } = loadInstalledAddon();
    expect(addonPath).toContain(join("prebuilds", `${process.platform}-${process.arch}`));
    expect(numDevices).toBeGreaterThan(0);
  });

  test("a run trains and leaves its metrics, after building the SQLite binding where npm brought none", () => {
    const experiment = writeTinyExperiment(folder);
    const result = runCommand(["run", experiment.file, "--out", "out"]);
    expect(result.status, result.stderr).toBe(0);
    expect(existsSync(join(folder, "out", "metrics.sqlite"))).toBe(true);
    expect(result.stderr).not.toContain("Building the native addon");
  });

  test("the install step as a dependency keeps a prebuilt addon that loads", () => {
    const root = join(folder, "node_modules", "fedllm-native");
    const result = run(process.execPath, [join(root, "scripts", "install-native.cjs")]);
    expect(result).toMatchObject({ status: 0, stdout: "" });
    expect(existsSync(join(root, "native", "build"))).toBe(false);
  });

  test("without a prebuilt addon the command builds one into the user's cache, which then loads", () => {
    const root = join(folder, "node_modules", "fedllm-native");
    rmSync(join(root, "prebuilds"), { recursive: true });
    mkdirSync(join(folder, "cache"), { recursive: true });
    const built = runCommand(["native", "build"]);
    expect(built.status, built.stderr).toBe(0);
    expect(built.stderr).toContain("Building the native addon");
    expect(loadInstalledAddon().addonPath).toBe(built.stdout.trim());
    expect(built.stdout).toContain(join(folder, "cache"));
  });
});
