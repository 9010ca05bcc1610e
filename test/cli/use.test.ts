/** What one does with a finished run, as a user does it: talk with it, export its adapters, start another run from an imported one. */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import Database from "better-sqlite3";
import { beforeAll, describe, expect, test } from "vitest";
import { readEventFile } from "../helpers/event-file.js";
import { startMlflowServer } from "../helpers/mlflow-server.js";
import { makeTestFolder } from "../helpers/native.js";
import { CLI_COMMAND, runCli, runProgram } from "../helpers/run-cli.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";

const hasScript = process.platform === "linux" && spawnSync("script", ["--version"]).status === 0;
const folder = makeTestFolder();
const run = join(folder, "run");
const env = { FEDLLM_CACHE_DIR: join(folder, "cache") };
const cli = (...args: string[]) => runCli(args, { cwd: folder, env });

beforeAll(async () => {
  const { file } = writeTinyExperiment(folder, ["arms: {precisions: [F16], strategies: [local, fedavg]}"]);
  const { exitCode, stderr } = await cli("run", file, "--out", run, "--num-rounds", "2", "--quiet");
  expect([exitCode, stderr]).toEqual([0, ""]);
});

describe("export", () => {
  test("writes what is asked for, with a card that tells the run's facts", async () => {
    const { exitCode, stdout, stderr } = await cli("export", run, "--arm", "f16-fedavg", "--gguf", "F16", "--peft", "F32", "--merged", "q8_0", "--base-name", "tiny/base", "--out", "out");
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(readdirSync(join(folder, "out")).sort()).toEqual(["README.md", "adapter-f16.gguf", "adapter_config.json", "adapter_model.safetensors", "merged-q8_0.gguf"]);
    expect(stdout).toMatch(/^ {2}merged-q8_0.gguf {2}\d/mu);
    const card = readFileSync(join(folder, "out", "README.md"), "utf8");
    expect(card).toMatch(/^---\nbase_model: "tiny\/base"\nlibrary_name: peft\n/u);
    for (const fact of ["# tiny: f16-fedavg", "| strategy | fedavg |", "| rounds | 2, 3 clients each, 2 steps of 2 samples |", "clients.json, SHA-256", "licence is not known", "| heldout_loss | 2 |", "template `chat`", "PeftModel"]) expect(card).toContain(fact);
    const inspected = await cli("model", "inspect", join("out", "merged-q8_0.gguf"), "--json");
    expect(JSON.parse(inspected.stdout)).toMatchObject({ numLayers: 2 });
  });

  test("takes clients' adapters one by one and all together, and says what there is", async () => {
    expect((await cli("export", run, "--arm", "f16-local", "--client", "../up", "--gguf", "F32", "--out", "client")).exitCode).toBe(0);
    expect(readFileSync(join(folder, "client", "adapter-f32.gguf")).equals(readFileSync(join(run, "adapters", "f16-local", "%2E%2E%2Fup.gguf")))).toBe(true);
    const all = await cli("export", run, "--all", "--gguf", "F32", "--out", "all", "--json");
    const { exported } = JSON.parse(all.stdout) as { exported: { adapter: string }[] };
    expect(exported.map(({ adapter }) => adapter)).toContain("f16-fedavg");
    for (const { adapter } of exported) expect(existsSync(join(folder, "all", adapter, "README.md"))).toBe(true);
    const unclear = await cli("export", run);
    expect(unclear.exitCode).toBe(2);
    expect(unclear.stderr).toContain("--arm: expected one of f16-fedavg, f16-local");
  });
});

describe("chat", () => {
  interface Line {
    readonly question: string;
    readonly answers: readonly { readonly speaker: string; readonly text: string; readonly finish: string; readonly numTokens: number }[];
  }
  const few = ["--max-tokens", "4", "--context-length", "64", "--num-threads", "1"];

  test("--prompt prints what base and adapter answer by the template of training", async () => {
    const { stdout } = await cli("chat", run, "--arm", "f16-local", "--client", "b", "--prompt", "b0+1", "--json", ...few);
    const first = JSON.parse(stdout) as Line;
    expect(first.question).toBe("b0+1");
    expect(first.answers.map(({ speaker }) => speaker)).toEqual(["base", "f16-local/b"]);
    expect(first.answers.every(({ numTokens, finish }) => numTokens <= 4 && (finish === "stop" || finish === "length"))).toBe(true);
  });

  test("questions come from standard input line by line, /reset forgets, and a round names its adapter", async () => {
    const command = [...CLI_COMMAND, "chat", run, "--arm", "f16-fedavg", "--round", "1", "--json", ...few].map((part) => `'${part}'`).join(" ");
    const { stdout, exitCode, stderr } = await runProgram(["sh", "-c", `printf '1+1\\n\\n2+2\\n/reset\\n1+1\\n/quit\\n3+3\\n' | ${command}`], { cwd: folder, env });
    expect([exitCode, stderr]).toEqual([0, ""]);
    const lines = stdout.trimEnd().split("\n").map((line) => JSON.parse(line) as Line);
    expect(lines.map(({ question }) => question)).toEqual(["1+1", "2+2", "1+1"]);
    expect(lines[2]?.answers).toEqual(lines[0]?.answers);
    expect(lines[0]?.answers[1]?.speaker).toBe("f16-fedavg/rounds/1");
  });

  test.skipIf(!hasScript)("a terminal has a prompt, streams both answers and ends with Ctrl-D", async () => {
    const command = [...CLI_COMMAND, "chat", run, "--arm", "f16-fedavg", ...few].map((part) => `'${part}'`).join(" ");
    const child = spawn("script", ["-qec", command, "/dev/null"], { cwd: folder, env: { ...process.env, ...env, TERM: "xterm" }, stdio: ["pipe", "pipe", "ignore"] });
    const typed = ["1+1\r", "\u0004"];
    let shown = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      shown += text;
      // The second prompt is the one after the answers.
      if (shown.split("> ").length + typed.length > 3) child.stdin.write(typed.shift() ?? "");
    });
    const exitCode = await new Promise((resolve) => child.on("close", resolve));
    expect(exitCode).toBe(0);
    expect(shown).toContain("/reset forgets the conversation");
    expect(shown).toMatch(/base: [\s\S]*f16-fedavg/u);
  }, 60_000);
});

describe("import", () => {
  test("makes a start adapter of PEFT's folder, with which a run begins as with the run it came from", async () => {
    // What the first test has exported.
    const imported = await cli("import", "out", "--model", "tiny.gguf", "--out", "start.gguf");
    expect(imported.stdout).toContain("training: { startAdapter: start.gguf }");
    expect(imported.stdout).toContain("lora: { rank: 2, loraAlpha: 4, targetModules: [attn_q, attn_v] }");
    expect(readFileSync(join(folder, "start.gguf")).equals(readFileSync(join(run, "adapters", "f16-fedavg.gguf")))).toBe(true);
    const next = await cli("run", "experiment.yaml", "--strategy", "fedavg", "--start-adapter", "start.gguf", "--num-rounds", "1", "--out", "next", "--quiet");
    expect([next.exitCode, next.stderr]).toEqual([0, ""]);
    expect(next.stdout).toMatch(/^F16 +start/mu);
  });
});

describe("reproduce", () => {
  test("trains the same bytes again, and says so with 0", async () => {
    const { exitCode, stdout, stderr } = await cli("reproduce", run, "--out", "again", "--quiet");
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^adapters: (\d+) of \1 have the same bytes$/mu);
    expect(stdout).toContain("Reproduced: the same bytes of all adapters");
  });

  test("finds another byte of an adapter and another number, names them, and ends with 3", async () => {
    const other = join(folder, "changed");
    cpSync(run, other, { recursive: true });
    const adapter = join(other, "adapters", "f16-fedavg.gguf");
    const bytes = readFileSync(adapter);
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(adapter, bytes);
    const database = new Database(join(other, "metrics.sqlite"));
    database.exec("UPDATE evaluations SET value = value + 1e-12 WHERE arm = 'f16-fedavg' AND round = 2 AND metric = 'heldout_loss' AND client_id IS NULL");
    database.close();
    const { exitCode, stdout, stderr } = await cli("reproduce", other, "--quiet");
    expect(exitCode).toBe(3);
    expect(stderr).toContain("error NOT_REPRODUCED");
    expect(stdout).toContain("(others: f16-fedavg.gguf)");
    expect(stdout).toMatch(/^evaluations: 1 of \d+ rows differ$/mu);
  });

  test("refuses other data before anything is trained", async () => {
    const data = join(folder, "clients.json");
    const before = readFileSync(data);
    writeFileSync(data, Buffer.concat([before, Buffer.from("\n")]));
    try {
      const { exitCode, stderr } = await cli("reproduce", run, "--out", "never");
      expect(exitCode).toBe(2);
      expect(stderr).toContain("data.train of the run: expected the file the run began with");
      expect(existsSync(join(folder, "never", "adapters"))).toBe(false);
    } finally {
      writeFileSync(data, before);
    }
  });
});

describe("init", () => {
  test("--yes writes an experiment that a dry run takes at once, and never writes over one", async () => {
    expect((await cli("init", "first.yaml", "--yes")).stdout).toContain("first.yaml is written: arms source-local, source-fedavg");
    const planned = await cli("run", "first.yaml", "--dry-run", "--json");
    expect([planned.exitCode, planned.stderr]).toEqual([0, ""]);
    expect(JSON.parse(planned.stdout)).toMatchObject({ name: "my-study-synthetic", arms: [{ numRounds: 20 }, { numRounds: 20 }] });
    const text = readFileSync(join(folder, "first.yaml"), "utf8");
    const again = await cli("init", "first.yaml", "--yes");
    expect(again.exitCode).toBe(2);
    expect(again.stderr).toContain("a file that is not there yet");
    expect(readFileSync(join(folder, "first.yaml"), "utf8")).toBe(text);
  });

  test("asks what no option says, and writes nothing for answers that cannot be", async () => {
    const command = [...CLI_COMMAND, "init", "asked.yaml", "--model", "tiny.gguf"].map((part) => `'${part}'`).join(" ");
    const asked = await runProgram(["sh", "-c", `printf '\\nmine\\nclients.json\\nfedprox, fedavg\\nF16\\n3\\n' | ${command}`], { cwd: folder, env });
    expect([asked.exitCode, asked.stderr]).toEqual([0, ""]);
    const text = readFileSync(join(folder, "asked.yaml"), "utf8");
    for (const line of ["name: mine", "model: tiny.gguf", "  train: clients.json", "  numRounds: 3", "  precisions: [F16]", "  strategies: [fedprox, fedavg]"]) expect(text.split("\n")).toContain(line);
    expect((await cli("init", "pairs.yaml", "--yes", "--objective", "dpo")).stdout).toContain("pairs.yaml is written: arms source-local, source-fedavg");
    const planned = await cli("run", "pairs.yaml", "--dry-run", "--json");
    expect([planned.exitCode, planned.stderr]).toEqual([0, ""]);
    const wrong = await cli("init", "wrong.yaml", "--yes", "--strategies", "fedavgg");
    expect(wrong.exitCode).toBe(2);
    expect(existsSync(join(folder, "wrong.yaml"))).toBe(false);
  });
});

describe("--report-to", () => {
  const tagsOf = (of: string) => {
    const events = join(folder, of, "tensorboard", "f16-fedavg");
    return readEventFile(readFileSync(join(events, readdirSync(events)[0] ?? ""))).flatMap(({ scalars, step }) => scalars.map(({ tag }) => `${tag} ${String(step)}`));
  };

  test("sends the points of a run while it goes, and of a finished one afterwards; a server that is not there stops nothing", async () => {
    const args = ["run", "experiment.yaml", "--num-rounds", "2", "--out", "tracked", "--quiet", "--report-to", "csv,mlflow,tensorboard"];
    const { exitCode, stderr } = await runCli(args, { cwd: folder, env: { ...env, MLFLOW_TRACKING_URI: "http://127.0.0.1:9" } });
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/^warning: mlflow gets nothing more of this run: .*ECONNREFUSED/u);
    const lines = readFileSync(join(folder, "tracked", "metrics.csv"), "utf8").trimEnd().split("\n");
    expect(lines.filter((line) => line.startsWith("f16-fedavg,2,") && line.includes(",heldout_loss,"))).toHaveLength(1);
    expect(tagsOf("tracked")).toEqual(expect.arrayContaining(["train_loss 1", "train_loss 2", "heldout_loss 2"]));
    const server = await startMlflowServer();
    const sent = await runCli(["report-to", run, "--to", "tensorboard,mlflow"], { cwd: folder, env: { ...env, MLFLOW_TRACKING_URI: server.url } });
    expect([sent.exitCode, sent.stderr]).toEqual([0, ""]);
    expect([...server.runs.values()].map(({ name, status }) => `${name} ${status}`)).toEqual(["tiny f16-local FINISHED", "tiny f16-fedavg FINISHED"]);
    expect(tagsOf("run").sort()).toEqual(tagsOf("tracked").sort());
    await server.close();
  });
});
