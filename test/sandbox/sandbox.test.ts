/**
 * What programs in the sandbox can do and cannot, for each backend that works here. Pyodide is tested in its weakest form, without the
 * kernel's help. Every program tries something and returns "done" if it worked; a control shows that the trial itself is sound.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import { connect } from "node:net";
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { ProgramResult } from "../../src/benchmarks/metric.js";
import type { OpenSandbox } from "../../src/sandbox/open-sandbox.js";
import { programOf, PROGRAMMING_PROBLEMS } from "../fixtures/programming-problems.js";
import { openBarePyodide, openIfUsable } from "../helpers/sandboxes.js";

/** Stands in every guest's command line, so that what is left of them can be found. */
const FILE_BYTES = 8 * 1024 * 1024 + (process.pid % 100_000);
const LIMITS = { timeLimitMs: 2000, memoryBytes: 256 * 1024 * 1024, outputBytes: 100_000, fileBytes: FILE_BYTES };
const CHECK_DONE = 'assert trial() == "done"';

let server: Server;
let numConnections = 0;
beforeAll(async () => {
  server = createServer((socket) => {
    numConnections++;
    socket.on("error", () => undefined).destroy();
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
});
afterAll(() => {
  server.close();
});
const port = (): number => (server.address() as AddressInfo).port;

/** Processes whose command line has this run's mark; Linux alone tells. */
function guestProcesses(role = ""): string[] {
  if (process.platform !== "linux") return [];
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/u.test(name)) return false;
    try {
      return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(`${role}\0`) && readFileSync(`/proc/${name}/cmdline`, "latin1").includes(String(FILE_BYTES));
    } catch {
      return false;
    }
  });
}

const body = (...lines: string[]): string => ["def trial():", ...lines.map((line) => `    ${line}`), '    return "done"'].join("\n");

describe.each(["bubblewrap", "pyodide"] as const)("%s", (name) => {
  let sandbox: OpenSandbox | undefined;
  beforeAll(async () => {
    sandbox = name === "bubblewrap" ? await openIfUsable("bubblewrap", LIMITS) : openBarePyodide(LIMITS);
  });
  afterAll(async () => {
    await sandbox?.dispose();
    expect(guestProcesses()).toEqual([]);
  });

  /** A test that is skipped where the backend does not work. */
  const sandboxTest = (title: string, run: (open: OpenSandbox) => Promise<void>): void => {
    test(title, async (context) => {
      if (sandbox === undefined) context.skip(`${name} cannot be used here`);
      else await run(sandbox);
    });
  };
  const attempt = async (open: OpenSandbox, ...lines: string[]): Promise<ProgramResult> => open.run({ source: body(...lines), check: CHECK_DONE });

  sandboxTest("right bodies pass and broken ones fail", async (open) => {
    for (const problem of PROGRAMMING_PROBLEMS) {
      expect(await open.run(programOf(problem, problem.canonical_solution)), problem.task_id).toMatchObject({ outcome: "passed" });
      expect(await open.run(programOf(problem, problem.brokenSolution)), problem.task_id).toMatchObject({ outcome: "failed" });
    }
  });

  sandboxTest("what went wrong is told in a line", async (open) => {
    const result = await open.run({ source: "def f(x):\n    return x", check: "assert f(1) == 1\nassert f(2) == 3, 'wrong sum'" });
    expect(result.detail).toBe("AssertionError: wrong sum at assert f(2) == 3, 'wrong sum'");
    expect((await open.run({ source: "def f(:", check: "f()" })).detail).toContain("SyntaxError");
    expect((await open.run({ source: "x = 1", check: "f()" })).detail).toContain("NameError");
    expect(await open.run({ source: "f = 'äöü 😀 \u2028'", check: "assert f == 'äöü 😀 \u2028'" })).toMatchObject({ outcome: "passed" });
  });

  sandboxTest("a program sees nothing of the ones before it", async (open) => {
    await open.run({ source: "import builtins, json\nbuiltins.len = builtins.left = None\njson.left = 1\nlater = 1", check: "assert later" });
    const source = "import json\nleft = [hasattr(json, 'left'), hasattr(__builtins__, 'left'), 'later' in globals(), len('abc')]";
    expect(await open.run({ source, check: "assert left == [False, False, False, 3]" })).toMatchObject({ outcome: "passed" });
  });

  sandboxTest("files outside cannot be read", async (open) => {
    const outside = ["/etc/passwd", "/proc/self/environ", "/proc/1/environ", homedir(), process.cwd(), resolve("package.json"), resolve("node_modules"), tmpdir() + "/.."];
    const seen = "import os\ndef look(path):\n    try:\n        return os.listdir(path) if os.path.isdir(path) else open(path).read(10)\n    except OSError:\n        return None\n";
    const check = `for path in ${JSON.stringify(outside.slice(0, -1))}:\n    assert look(path) is None, path + str(look(path))\nassert "work" not in look("/") and "var" not in look("/")`;
    expect(await open.run({ source: seen, check })).toMatchObject({ outcome: "passed" });
  });

  sandboxTest("the environment is empty", async (open) => {
    const own = Object.keys(process.env).filter((key) => !["HOME", "PATH", "LANG", "LC_CTYPE", "PWD", "USER", "LOGNAME", "_", "PYTHONHOME"].includes(key));
    const source = "import os\nnames = sorted(os.environ)\nvalues = list(os.environ.values())";
    expect(await open.run({ source, check: `assert not set(names) & set(${JSON.stringify(own)}), names\nassert ${JSON.stringify(process.env["PATH"] ?? "-")} not in values` })).toMatchObject({
      outcome: "passed",
    });
  });

  sandboxTest("nothing is written outside, and the disk cannot be filled", async (open) => {
    const target = join(tmpdir(), `fedllm-native-sandbox-${String(process.pid)}`);
    writeFileSync(target, "as it was");
    try {
      await attempt(open, `open(${JSON.stringify(target)}, "w").write("changed")`);
      await attempt(open, `open(${JSON.stringify(resolve("sandbox-was-here"))}, "w").write("changed")`);
      expect(readFileSync(target, "utf8")).toBe("as it was");
      expect(existsSync(resolve("sandbox-was-here"))).toBe(false);
    } finally {
      rmSync(target);
    }
    const fill = await attempt(open, "number = 0", "while number < 100:", "    with open(f'/tmp/{number}', 'wb') as file:", "        file.write(bytes(1_000_000))", "    number += 1");
    expect(fill).toMatchObject({ outcome: "failed", detail: expect.stringContaining("No space left on device") as string });
  });

  sandboxTest("the network is out of reach", async (open) => {
    await new Promise<void>((connected) => connect(port(), "127.0.0.1").on("error", () => undefined).on("close", () => { connected(); }));
    expect(numConnections).toBe(1);
    const url = `http://127.0.0.1:${String(port())}/`;
    const trials = [
      ["import socket", `socket.create_connection(("127.0.0.1", ${String(port())}), 0.5).sendall(b"x")`, "return 'done'"],
      ["import urllib.request", `urllib.request.urlopen("${url}", timeout=0.5).read()`],
      ["import ctypes, struct", "libc = ctypes.CDLL(None)", `address = struct.pack("<H", 2) + struct.pack(">H", ${String(port())}) + bytes([127, 0, 0, 1]) + bytes(8)`, "assert libc.connect(libc.socket(2, 1, 0), address, 16) == 0"],
      ["import js", `js.fetch("${url}")`],
      ["import pyodide_js", `pyodide_js._module.constructor.constructor("return process")()`],
      ["from pyodide.code import run_js", `run_js("fetch('${url}')")`],
      ["import pyodide.http", `pyodide.http.open_url("${url}")`],
    ];
    for (const lines of trials) expect(await attempt(open, ...lines), lines.join("\n")).not.toMatchObject({ outcome: "passed" });
    expect(numConnections).toBe(1);
    numConnections = 0;
  });

  sandboxTest("no object of JavaScript leads out of Python", async (open) => {
    const { outcome, detail } = await attempt(open, ...JAVASCRIPT_HUNT.split("\n"));
    expect(outcome).toBe("failed");
    // Where there is a bridge, something was looked at.
    expect(detail).toMatch(name === "pyodide" ? /nothing in [1-9]\d* objects/u : /nothing in 0 objects/u);
  });

  sandboxTest("no process is started", async (open) => {
    for (const lines of [
      ["import os", "while True:", "    if os.fork() < 0: break"],
      ["import subprocess, sys", "subprocess.run([sys.executable or '/bin/sh', '-c', ''])"],
      ...(name === "bubblewrap" ? [["import os", "assert os.system('true') == 0"]] : []),
      ["import multiprocessing", "process = multiprocessing.Process(target=print)", "process.start()"],
      ["import threading", "while True:", "    threading.Thread(target=threading.Event().wait).start()"],
    ]) {
      expect(await attempt(open, ...lines), lines.join("\n")).toMatchObject({ outcome: "failed" });
    }
    expect(guestProcesses().length).toBeLessThanOrEqual(6);
  });

  sandboxTest("memory is bounded, of the program and of whoever reads its answer", async (open) => {
    expect(await attempt(open, "kept = []", "while True: kept.append(bytearray(10_000_000))")).toMatchObject({ outcome: "memory" });
    // Each end of a process takes Pyodide seconds; the answer is bounded in the parent, the same for both.
    const flood = { source: "def f(n):\n    return 'x' * n", check: "assert len(f(20_000_000)) == 20_000_000" };
    if (name === "bubblewrap") expect(await open.run(flood)).toMatchObject({ outcome: "output" });
    expect(await attempt(open, "import os", "while True:", "    read, write = os.pipe()", "    os.set_blocking(write, False)", "    os.write(write, bytes(1_000_000))")).toMatchObject({
      outcome: "failed",
    });
  });

  sandboxTest("a flood of output ends the program", async (open) => {
    const before = process.memoryUsage().rss;
    expect(await attempt(open, "while True: print('x' * 1000)")).toMatchObject({ outcome: "output" });
    if (name === "bubblewrap") expect(await attempt(open, "import os", "while True: os.write(2, b'x' * 1000)")).toMatchObject({ outcome: "output" });
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
    expect(await attempt(open, "print('x' * 50_000)")).toMatchObject({ outcome: "passed" });
  });

  sandboxTest("a program without end is ended, whatever it does against it, and nothing of it is left", async (open) => {
    const stubborn = ["import signal", "for number in range(1, 30):", "    try: signal.signal(number, signal.SIG_IGN)", "    except (OSError, ValueError): pass"];
    const result = await attempt(open, ...stubborn, "while True:", "    try:", "        while True: pass", "    except BaseException: pass");
    expect(result.outcome).toBe("timeout");
    expect(result.durationMs).toBeGreaterThanOrEqual(LIMITS.timeLimitMs);
    expect(result.durationMs).toBeLessThan(LIMITS.timeLimitMs + 1500);
    expect(guestProcesses("candidate")).toEqual([]);
    expect(await attempt(open, "pass")).toMatchObject({ outcome: "passed" });
  });

  sandboxTest("success cannot be had by other means than right answers", async (open) => {
    // Who says what passed is the same for both; here it matters what Pyodide is put back to, and each end of a process takes it seconds.
    for (const source of name === "pyodide" ? FORGERIES : [...FORGERIES, ...FORGERIES_THAT_END]) {
      const result = await open.run({ source, check: "def check(f):\n    assert f(1) == 2, 'told apart'\n    assert f(2) == 3\ncheck(f)" });
      expect(result.outcome, source).not.toBe("passed");
    }
    expect(await open.run({ source: "def f(x):\n    return x + 1", check: "assert f(1) == 2" })).toMatchObject({ outcome: "passed" });
  });
});

test("a program without end does not outlive a killed parent", async (context) => {
  const sandbox = await openIfUsable("bubblewrap", LIMITS);
  if (sandbox === undefined || process.platform !== "linux") {
    context.skip("bubblewrap cannot be used here");
    return;
  }
  await sandbox.dispose();
  const program = spawn(process.execPath, ["--import", "tsx", resolve("test/helpers/endless-program.ts"), "bubblewrap", String(FILE_BYTES)], { stdio: ["ignore", "pipe", "inherit"] });
  await once(program.stdout, "data");
  await expect.poll(() => guestProcesses("candidate").length, { timeout: 20_000 }).toBeGreaterThan(0);
  program.kill("SIGKILL");
  await once(program, "exit");
  await expect.poll(() => guestProcesses(), { timeout: 10_000 }).toEqual([]);
});

/** Goes through the objects of JavaScript that Python can reach; done when one of them runs code or leads to Node. */
const JAVASCRIPT_HUNT = `import gc
seen, found, reached = set(), [], []
def is_proxy(value):
    return 'JsProxy' in str(type(type(value))) and hasattr(value, 'js_id')
def look(value):
    if is_proxy(value) and value.js_id not in seen:
        seen.add(value.js_id)
        found.append(value)
for value in gc.get_objects():
    look(value)
    if isinstance(value, dict):
        for item in list(value.values()): look(item)
while found and len(seen) < 1000:
    one = found.pop(0)
    try:
        if one.constructor.constructor('return 6 * 7')() == 42: reached.append('code')
    except Exception: pass
    for key in [*dir(one), 'constructor', '__proto__', 'prototype']:
        if key in ('fetch', 'process', 'require', 'globalThis', 'getBuiltinModule', 'binding', 'connect', 'createConnection', 'createSocket'): reached.append(key)
        if key.startswith('_') and key != '__proto__': continue
        try: look(getattr(one, key))
        except Exception: pass
if not reached: raise LookupError(f'nothing in {len(seen)} objects')`;

/** Wrong programs that want to be taken for right ones. */
const FORGERIES = [
  "print('passed')\nprint('verdict 0 {\"passed\": true}')\ndef f(x): return 0",
  "import os\nfor fd in range(0, 12):\n    try: os.write(fd, b'verdict 0 {\"passed\": true}\\n')\n    except OSError: pass\ndef f(x): return 0",
  "import sys\nsys.exit(0)",
  "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit(0)",
  "def f(x):\n    raise KeyboardInterrupt",
  "import builtins\nbuiltins.AssertionError = builtins.BaseException = type('Never', (), {})\nbuiltins.exec = builtins.compile = lambda *a, **k: None\ndef f(x): return 0",
  "class Equal:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n    def __bool__(self): return True\n    __hash__ = None\ndef f(x): return Equal()",
  "class Equal(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return Equal(0)",
  "class Equal(list):\n    def __eq__(self, other): return True\ndef f(x): return Equal([0])",
  "def check(f): return None\ncheck.__code__ = (lambda f: None).__code__\ndef f(x): return 0",
  "import gc\nfor one in gc.get_objects():\n    if isinstance(one, type) and one.__name__ in ('Checker', 'Candidate'):\n        one.verdict = lambda *a: {'passed': True}\n        one.call = lambda *a: {'passed': True, 'value': None, 'changed': {}}\ndef f(x): return 0",
  "import sys, json\nfor module in list(sys.modules.values()):\n    try: module.dumps = lambda *a: '{\"passed\": true}'\n    except Exception: pass\ndef f(x): return 0",
  "import json\njson.dumps = lambda value: '{\"gone\": true}'\ndef f(x): return 0",
  "def f(x):\n    raise AssertionError('told apart')",
];

/** The same, which end their process or confuse it. */
const FORGERIES_THAT_END = [
  "import os\nos._exit(0)",
  "import sys\nframe = sys._getframe()\nwhile frame:\n    for name in ('check', 'verdict', 'candidate', 'passed', 'line', 'token'):\n        frame.f_globals[name] = frame.f_locals[name] = lambda *a: {'passed': True}\n    frame = frame.f_back\ndef f(x): return 0",
  "import json\njson.dumps = lambda value: '{\"value\": 2}\\nverdict 0 {\"passed\": true}'\ndef f(x): return 0",
  "import json\njson.dumps = lambda value: '{\"function\": \"f\", \"module\": \"os\", \"value\": {\"opaque\": 1, \"dict\": 2}}'\ndef f(x): return 0",
  "import json\njson.dumps = lambda value: '[' * 100000\ndef f(x): return 0",
  "import json\njson.dumps = lambda value: '{\"raised\": [\"StopIteration\", null]}'\ndef f(x): return 0",
];
