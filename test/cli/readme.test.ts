/** What the README tells a newcomer to do with data and a model of their own, done: its file word for word, its commands in their order, on a tiny model. */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeTestFolder } from "../helpers/native.js";
import { runCli } from "../helpers/run-cli.js";
import { writeTinyExperiment } from "../helpers/tiny-experiment.js";
import { makeZip } from "../helpers/zip.js";

const QUESTIONS = Buffer.from("What is 1+1?,1,2,3,4,B\nWhat is 2+2?,1,2,3,4,D\n");
/** Added so that it takes seconds: the commands stay what they are. */
const SHORTER: Readonly<Record<string, readonly string[]>> = {
  plan: ["--num-rounds", "1", "--local-steps", "1"],
  run: ["--num-rounds", "1", "--local-steps", "1", "--seeds", "1", "--num-threads", "1"],
  eval: ["--limit", "2", "--arm", "f16-fedavg-seed1", "--threads", "1"],
  questions: ["--from", "mmlu.zip"],
  chat: ["--prompt", "1+1", "--max-tokens", "4", "--num-threads", "1"],
};

test("the README's own data and model", async () => {
  const section = readFileSync("README.md", "utf8").split(/^## /mu).find((text) => text.startsWith("Your own data and model")) ?? "";
  const [, yaml = ""] = /```yaml\n([\s\S]*?)```/u.exec(section) ?? [];
  const commands = [...section.matchAll(/^npx fedllm-native (.*?)(?:\s+#.*)?$/gmu)].map(([, words = ""]) => words.split(/\s+/u));
  expect(commands.map(([name]) => name)).toEqual(["plan", "run", "report", "questions", "eval", "chat"]);

  const folder = makeTestFolder();
  const env = { FEDLLM_CACHE_DIR: join(folder, "cache") };
  const cli = async (...args: string[]) => {
    const { exitCode, stdout, stderr } = await runCli(args, { cwd: folder, env });
    expect(exitCode, `${args.join(" ")}\n${stdout}\n${stderr}`).toBe(0);
    return stdout;
  };
  writeTinyExperiment(folder);
  for (const [from, to] of [["tiny.gguf", "models/qwen3-0.6b-f16.gguf"], ["clients.json", "data/clients.json"]] as const) {
    mkdirSync(join(folder, to, ".."), { recursive: true });
    renameSync(join(folder, from), join(folder, to));
  }
  expect(yaml).toContain("model: models/qwen3-0.6b-f16.gguf");
  expect(yaml).toContain("train: data/clients.json");
  writeFileSync(join(folder, "experiment.yaml"), yaml);
  writeFileSync(join(folder, "mmlu.zip"), makeZip([{ name: "data/dev/sums_dev.csv", content: QUESTIONS }, { name: "data/test/sums_test.csv", content: QUESTIONS }]));

  const printed = new Map<string, string>();
  for (const [name = "", ...args] of commands) printed.set(name, await cli(name, ...args, ...(SHORTER[name] ?? [])));
  expect(printed.get("plan")).toMatch(/q4_k_m-flexlora-seed3/u);
  expect(printed.get("run")).toMatch(/flexlora/u);
  expect(existsSync(join(folder, "reports", "my-study", "index.html"))).toBe(true);
  expect(printed.get("eval")).toMatch(/accuracy/u);
  expect(printed.get("chat")).toMatch(/f16-fedavg/u);
});
