/** The command line in processes of its own: what it prints where, and its exit codes. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CLI_COMMAND, runCli, runProgram, sourceCommand } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

/** A short experiment: one arm, two rounds. */
function makeExperiment() {
  const folder = makeTemporaryFolder();
  return writeTinyExperiment(folder, ["arms: {precisions: [F16], strategies: [fedavg]}"]);
}

describe("usage", () => {
  test("help lists all commands and needs no native part", async () => {
    const { exitCode, stdout, stderr } = await runCli(["--help"], { env: { FEDLLM_NATIVE_PATH: "/none" } });
    expect(exitCode).toBe(0);
    expect(stderr).toBe("");
    for (const command of ["run", "resume", "runs", "data", "model", "doctor", "config", "native", "completion"]) {
      expect(stdout).toContain(`fedllm-native ${command}`);
    }
  });

  test("the version is the package's", async () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect((await runCli(["--version"])).stdout).toBe(`${version}\n`);
  });

  test.each([
    [["rnu"], "Did you mean run?"],
    [["run", "--sede", "1"], "Did you mean --seed?"],
    [["runs", "lits"], "Did you mean list?"],
    [[], "Which command?"],
    [["runs"], "Which action"],
    [["resume"], "resume: expected more than its name. See fedllm-native resume --help"],
    [["data", "import", "x.json"], "data import: expected --out, received none. See fedllm-native data import --help"],
    [["run", "quantized-vs-ful"], "Did you mean quantized-vs-full?"],
    [["run", "--set"], "set"],
    [["run", "none.yaml"], "none.yaml"],
    [["config", "validate", "--set", "training.numRonds=5"], "Did you mean numRounds?"],
    [["config", "validate", "--seed", "x"], "seed (--seed): expected a"],
  ])("%j ends with 2 and says what is wrong", async (args, expected) => {
    const { exitCode, stdout, stderr } = await runCli(args);
    expect(stderr).toContain("error CONFIG_INVALID:");
    expect(stderr).toContain(expected);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(stdout).toBe("");
    expect(exitCode).toBe(2);
  });

  test("--debug shows where an error came from", async () => {
    expect((await runCli(["run", "none.yaml", "--debug"])).stderr).toMatch(/^\s+at /m);
  });

  test("completion prints a script for the shell", async () => {
    expect((await runCli(["completion"], { env: { SHELL: "/bin/bash" } })).stdout).toContain("complete");
  });
});

describe("config", () => {
  test("show prints a file that resolves to itself", async () => {
    const { file, folder } = makeExperiment();
    const shown = await runCli(["config", "show", file, "--num-rounds", "7", "--set", "lora.rank=3"]);
    expect(shown.exitCode).toBe(0);
    expect(shown.stdout).toContain("# yaml-language-server: $schema=");
    expect(shown.stdout).toContain("numRounds: 7");
    expect(shown.stdout).toContain("rank: 3");
    const copy = join(folder, "copy.yaml");
    writeFileSync(copy, shown.stdout);
    expect((await runCli(["config", "show", copy])).stdout).toBe(shown.stdout);
  });

  test("--strategy takes a name or a file, in TypeScript too, from the folder it is called in", async () => {
    const { file } = makeExperiment();
    const cwd = join(import.meta.dirname, "..", "..", "experiments", "own-strategy");
    const args = ["config", "validate", file, "--strategy"];
    expect((await runCli([...args, "fedprox"])).stdout).toContain("is valid: arms f16-fedprox;");
    const rate = ["--set", "strategyOptions.own.rate=0.5"];
    expect((await runCli([...args, "./median.ts", ...rate], { cwd })).stdout).toContain("is valid: arms f16-median;");
    expect((await runCli([...args, "./meidan.ts"], { cwd })).stderr).toContain(`expected an existing file, received ${join(cwd, "meidan.ts")}`);
  });

  test("schema is JSON, validate names the arms", async () => {
    const schema = JSON.parse((await runCli(["config", "schema"])).stdout) as { properties: object };
    expect(Object.keys(schema.properties)).toContain("training");
    const { file } = makeExperiment();
    expect((await runCli(["config", "validate", file])).stdout).toContain("is valid: arms f16-fedavg");
  });
});

describe("run", () => {
  test("prints plain lines and the table, and says where everything is", async () => {
    const { file, folder } = makeExperiment();
    const out = join(folder, "out");
    const { exitCode, stdout, stderr } = await runCli(["run", file, "--out", out]);
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^f16-fedavg round 3: 3 updates, train loss \d/m);
    expect(stdout).toMatch(/^precision +adapter +held-out loss/m);
    expect(stdout).toMatch(/^F16 +fedavg +\d/m);
    expect(stdout).toContain(`Everything is in ${out}`);
    expect(stdout).not.toContain("\u001b");
    expect(existsSync(join(out, "metrics.sqlite-wal"))).toBe(false);
  });

  test("with --json prints only JSON lines on standard output and text on the other", async () => {
    const { file, folder } = makeExperiment();
    const { stdout, stderr } = await runCli(["run", file, "--out", join(folder, "out"), "--json"]);
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as { event: string; time: string });
    expect(lines[0]?.event).toBe("run_started");
    expect(lines.at(-1)).toMatchObject({ event: "summary", reference: "F16" });
    expect(lines.every(({ time }) => !Number.isNaN(Date.parse(time)))).toBe(true);
    expect(stderr).toMatch(/^F16 +fedavg/m);
  });

  test("with --quiet prints the result only", async () => {
    const { file, folder } = makeExperiment();
    const { stdout } = await runCli(["run", file, "--out", join(folder, "out"), "--quiet"]);
    expect(stdout.trimStart().startsWith("precision")).toBe(true);
  });

  test("--dry-run says what would be done and writes nothing", async () => {
    const { file, folder } = makeExperiment();
    const { exitCode, stdout } = await runCli(["run", file, "--dry-run", "--json"], { cwd: folder });
    expect(exitCode).toBe(0);
    const [arm] = (JSON.parse(stdout) as { arms: Record<string, number>[] }).arms;
    const parameters = 2 * 2 * (256 + 256 + 256 + 128);
    expect(arm).toMatchObject({
      numRounds: 3,
      clientsPerRound: 3,
      trainableParameters: parameters,
      numSteps: 3 * 3 * 2,
      bytesPerRound: 3 * 2 * 4 * parameters,
      bytesInAll: 3 * 3 * 2 * 4 * parameters,
    });
    expect(existsSync(join(folder, "runs"))).toBe(false);
    expect(arm).toMatchObject({ memory: { streams: false, recomputes: false, parts: { adapter: 2 * 4 * parameters } } });
    const { stdout: text } = await runCli(["run", file, "--dry-run", "--device", "cpu"]);
    expect(text).toContain("bytes/round");
    expect(text).toMatch(/micro-batches of \d+ tokens, everything kept, 256 rows of logits at once; weights .*needs .* allowed/u);
  });

  test("--dry-run counts the control variates that travel beside the weights", async () => {
    const { file, folder } = makeExperiment();
    const args = ["run", file, "--strategies", "fedavg", "scaffold", "fedprox", "--dry-run", "--json"];
    const { stdout } = await runCli(args, { cwd: folder });
    const [fedAvg, scaffold, fedProx] = (JSON.parse(stdout) as { arms: { bytesPerRound: number }[] }).arms;
    expect(scaffold?.bytesPerRound).toBe(2 * (fedAvg?.bytesPerRound ?? Number.NaN));
    expect(fedProx?.bytesPerRound).toBe(fedAvg?.bytesPerRound);
  });

  test("without --out makes a folder below runs of the working folder", async () => {
    const { file, folder } = makeExperiment();
    const { stdout } = await runCli(["run", file, "--num-rounds", "1", "--name", "mine"], { cwd: folder });
    expect(stdout).toContain(join(folder, "runs", "mine-"));
    const list = await runCli(["runs", "list"], { cwd: folder });
    expect(list.stdout).toMatch(/mine-\d{8}-\d{6} +finished .* 1\/1 +1\/1 rounds/);
  });

  test("without a file runs the demonstration, from any folder", async () => {
    const folder = makeTemporaryFolder();
    const shortened = ["--precisions", "Q4_K_M", "--strategies", "fedavg", "--num-rounds", "1", "--clients-per-round", "1"];
    const args = ["run", ...shortened, "--set", "evaluation.maxSamples=8", "--set", "data.heldOutFraction=0"];
    const { exitCode, stdout, stderr } = await runCli(args, { cwd: folder, env: { FEDLLM_CACHE_DIR: join(folder, "cache") } });
    expect(stderr).toBe("");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("data: 48 clients");
    expect(stdout).toContain("model: Q4_K_M made");
    expect(stdout).toMatch(/^Q4_K_M +fedavg +\d/m);
  });

  test("a used folder is refused with 2, a failing model with 1", async () => {
    const { file, folder } = makeExperiment();
    const out = join(folder, "out");
    mkdirSync(out);
    writeFileSync(join(out, "other.txt"), "");
    const used = await runCli(["run", file, "--out", out]);
    expect(used.exitCode).toBe(2);
    expect(used.stderr).toContain("error RUN_EXISTS");
    const broken = join(folder, "broken.gguf");
    writeFileSync(broken, "GGUF");
    const failed = await runCli(["run", file, "--model", broken]);
    expect(failed.exitCode).toBe(1);
    expect(failed.stderr).toContain("error MODEL_LOAD_FAILED");
  });

  test("a reader that closes the pipe early leaves no stack behind", async () => {
    const { file, folder } = makeExperiment();
    const command = CLI_COMMAND.map((part) => `'${part}'`).join(" ");
    const { stdout, stderr } = await runProgram(["sh", "-c", `${command} run '${file}' --out '${folder}/out' | head -n 1`]);
    expect(stdout.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toBe("");
  });
});

describe("interrupting", () => {
  test("Ctrl-C ends with 130, names the command to go on, and that command finishes the run", async () => {
    const { file, folder } = makeExperiment();
    const out = join(folder, "out");
    const stopped = await runCli(["run", file, "--out", out, "--num-rounds", "50"], {
      onLine: (line, child) => {
        if (line.startsWith("f16-fedavg round 2: 3 updates")) child.kill("SIGINT");
      },
    });
    expect(stopped.exitCode).toBe(130);
    expect(stopped.stderr).toContain("error CANCELLED");
    expect(stopped.stderr).toContain(`Continue with: fedllm-native resume ${out}`);
    const shown = await runCli(["runs", "show", out]);
    expect(shown.stdout).toContain(`${out}: unfinished`);
    const resumed = await runCli(["resume", out]);
    expect(resumed.exitCode).toBe(0);
    expect(resumed.stdout).toContain("f16-fedavg round 50: 3 updates");
    expect(resumed.stdout).not.toContain("f16-fedavg round 1:");
  });

  test("the first Ctrl-C asks to stop, the second ends the process at once", async () => {
    const { exitCode, stdout } = await runProgram(sourceCommand("test/helpers/interrupt-program.ts"), {
      onLine: (line, child) => {
        if (line === "ready" || line === "first") child.kill("SIGINT");
      },
    });
    expect(stdout.trimEnd().split("\n")).toEqual(["ready", "aborted: FedllmError: the run was interrupted", "first", "second"]);
    expect(exitCode).toBe(130);
  });

  test("a second process in the same folder is refused and the first goes on", async () => {
    const { file, folder } = makeExperiment();
    const out = join(folder, "out");
    let second: ReturnType<typeof runCli> | undefined;
    const first = await runCli(["run", file, "--out", out, "--num-rounds", "200"], {
      onLine: (line, child) => {
        if (!line.startsWith("f16-fedavg round 1: 3 updates")) return;
        second = runCli(["resume", out]).finally(() => child.kill("SIGTERM"));
      },
    });
    const refused = await second;
    expect(refused?.exitCode).toBe(1);
    expect(refused?.stderr).toContain("error RUN_LOCKED");
    expect(refused?.stderr).toMatch(/process \d+ on /);
    expect(first.exitCode).toBe(130);
  });
});

describe("looking at things", () => {
  test("data inspect lists clients, spreads and bad samples with user and index", async () => {
    const folder = makeTemporaryFolder();
    const file = join(folder, "d.json");
    writeFileSync(file, '{"b": [{"instruction": "x", "response": "y"}, {"instruction": 5, "response": "z"}], "10": [{"instruction": "x", "response": "abc"}]}');
    const { stdout, exitCode } = await runCli(["data", "inspect", file]);
    expect(exitCode).toBe(0);
    expect(stdout).toContain("2 samples of 2 clients");
    expect(stdout).toContain('user "b", sample 1');
    const json = JSON.parse((await runCli(["data", "inspect", file, "--json"])).stdout) as { numProblems: number; clients: { id: string }[] };
    expect(json.numProblems).toBe(1);
    expect(json.clients.map(({ id }) => id)).toEqual(["b", "10"]);
  });

  test("model inspect and model quantize work on a file", async () => {
    const { folder } = makeExperiment();
    const source = join(folder, "tiny.gguf");
    const inspected = await runCli(["model", "inspect", source]);
    // Rank 16 on attn_q [256 -> 256] and attn_v [256 -> 128] of two layers: 28672 numbers of 4 bytes.
    expect(inspected.stdout).toMatch(/^adapter +28\.7k parameters, 115 kB to send/m);
    const out = join(folder, "q8.gguf");
    const made = await runCli(["model", "quantize", source, "Q8_0", out]);
    expect(made.exitCode).toBe(0);
    const info = JSON.parse((await runCli(["model", "inspect", out, "--json"])).stdout) as { tensorTypes: Record<string, number>; numLayers: number };
    expect(info.numLayers).toBe(2);
    expect(Object.keys(info.tensorTypes).map((type) => type.toUpperCase())).toContain("Q8_0");
    const wrong = await runCli(["model", "quantize", source, "Q9_9", out]);
    expect(wrong.exitCode).toBe(2);
    expect(wrong.stderr).toContain("Q4_K_M");
  });

  test("model emulate leaves layers out and says which", async () => {
    const { folder } = makeExperiment();
    const source = join(folder, "tiny.gguf");
    const out = join(folder, "emulator.gguf");
    const made = await runCli(["model", "emulate", source, out, "--last-layers", "1", "--drop-rate", "0"]);
    expect(made.stdout).toMatch(/layers 0 1 of 2; adapter on its layers 1; SHA-256 [0-9a-f]{64}$/m);
    const wrong = await runCli(["model", "emulate", source, out]);
    expect(wrong.exitCode).toBe(2);
    expect(wrong.stderr).toContain("firstLayers and lastLayers: expected together 1 to 1 of the model's 2 layers");
  });

  test("runs rm asks for --yes without a terminal, and then removes", async () => {
    const { file, folder } = makeExperiment();
    const out = join(folder, "runs", "one");
    await runCli(["run", file, "--out", out, "--num-rounds", "1", "--quiet"]);
    mkdirSync(join(folder, "runs", "bad"));
    writeFileSync(join(folder, "runs", "bad", "config.resolved.yaml"), "arms: 7");
    const list = await runCli(["runs", "list"], { cwd: folder });
    expect(list.stdout).toMatch(/^bad +damaged/m);
    expect(list.stdout).toMatch(/^one +finished/m);
    expect((await runCli(["runs", "rm", "one"], { cwd: folder })).exitCode).toBe(2);
    expect((await runCli(["runs", "rm", "one", "--yes"], { cwd: folder })).stdout).toContain("removed");
    expect(existsSync(out)).toBe(false);
    expect((await runCli(["runs", "show", "one"], { cwd: folder })).exitCode).toBe(2);
  });

  test("doctor reports versions, addon, devices and SQLite, and fails with advice when the addon is missing", async () => {
    const good = await runCli(["doctor"]);
    expect(good.exitCode).toBe(0);
    for (const subject of ["Node", "node-llama-cpp", "native addon", "device CPU", "SQLite"]) expect(good.stdout).toContain(subject);
    const bad = await runCli(["doctor"], { env: { FEDLLM_NATIVE_PATH: "/none.node" } });
    expect(bad.exitCode).toBe(1);
    expect(bad.stdout).toContain("MISSING");
    expect(bad.stdout).toContain("native build");
  });
});
