/** `data list` and `data get` in processes of their own: licences, ways to get a data set, and training on one by its name. */
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { serve, startFileServer } from "../helpers/file-server.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";
import { makeZip } from "../helpers/zip.js";

const CLIENTS = JSON.stringify({ ann: Array.from({ length: 4 }, (_, index) => ({ instruction: `q${String(index)}`, response: "a" })), ben: [{ instruction: "q", response: "a" }] });

describe("data get", () => {
  test("asks for the licence once, installs from an archive with warnings, and data list and data inspect know it", async () => {
    const dataDir = join(makeTemporaryFolder(), "data");
    const env = { FEDLLM_DATA_DIR: dataDir };
    const archive = join(makeTemporaryFolder(), "FedLLM-Bench-Data.zip");
    writeFileSync(archive, makeZip([{ name: "FedLLM-Bench-Data/Fed-Aya/aya_38c_25k.json", content: CLIENTS }]));
    const args = ["data", "get", "fed-aya", "--from", archive];
    const refused = await runCli(args, { env });
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).toContain("Licence: Apache-2.0");
    expect(refused.stderr).toContain("--accept-licence");
    expect(existsSync(dataDir)).toBe(false);
    const accepted = await runCli([...args, "--accept-licence"], { env });
    expect(accepted.exitCode).toBe(0);
    expect(accepted.stdout).toContain("fed-aya: 2 clients, 5 samples");
    expect(accepted.stdout).toContain("warning: the paper has 38 clients, this data has 2");
    // The second time nothing is asked or shown.
    expect(await runCli(args, { env })).toMatchObject({ exitCode: 0, stderr: "" });
    expect((await runCli(["data", "list"], { env })).stdout).toMatch(/^fed-aya +single-turn +38 +25\.5k +Apache-2\.0 +2 clients, 5 samples$/m);
    const cwd = makeTemporaryFolder();
    expect((await runCli(["data", "inspect", "dataset:fed-aya"], { env, cwd })).stdout).toContain("5 samples of 2 clients");
    expect((await runCli(["data", "inspect", "fed-aya"], { env, cwd })).stdout).toContain(`${join(dataDir, "Fed-Aya/aya_38c_25k.json")}: single-turn samples`);
    for (const name of ["fed-aya", "dataset:fed-aya"]) {
      const { stdout } = await runCli(["data", "analyze", name], { env, cwd });
      expect(stdout).toContain("fed-aya: 5 single-turn samples of 2 clients");
      expect(stdout).toContain(join("analysis", "fed-aya", "analysis.json"));
    }
    writeFileSync(join(cwd, "e.yaml"), "data: {train: dataset:fed-aya}\ntraining: {numRounds: 1, clientsPerRound: 1, localSteps: 1}\narms: {precisions: [source], strategies: [fedavg]}\n");
    expect((await runCli(["config", "show", "e.yaml"], { env, cwd })).stdout).toContain(`train: ${join(dataDir, "Fed-Aya/aya_38c_25k.json")}`);
  });

  test("downloads the archive, and says what is missing otherwise", async () => {
    const { origin, requests } = await startFileServer(serve(makeZip([{ name: "Fed-ChatbotIT/chatbotIT_237c_6k.json.json", content: CLIENTS }])));
    const env = { FEDLLM_DATA_DIR: makeTemporaryFolder(), HF_TOKEN: "hf_secret", HTTP_PROXY: undefined, http_proxy: undefined };
    const args = ["data", "get", "fed-chatbot-it", "--accept-licence", "--url", `${origin}/data.zip`];
    const offline = await runCli([...args, "--offline"], { env });
    expect(offline).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("DOWNLOAD_FAILED") as string });
    expect((await runCli(args, { env: { ...env, HF_HUB_OFFLINE: "1" } })).stderr).toContain("offline mode");
    expect(requests).toHaveLength(0);
    const { stdout, stderr, exitCode } = await runCli([...args, "--json"], { env });
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ name: "fed-chatbot-it", numClients: 2, source: `${origin}/data.zip` });
    // The token is for the hub alone, and no file or message has it.
    expect(requests.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    const files = readdirSync(env.FEDLLM_DATA_DIR, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    for (const file of files) expect(readFileSync(join(file.parentPath, file.name)).includes("hf_secret")).toBe(false);
    expect(stderr).not.toContain("hf_secret");
  });

  test.each([
    [["data", "get", "fed-ayaa"], "expected one of fed-aya"],
    [["data", "get", "fed-aya", "--from", "a.zip", "--rebuild"], "--from and --rebuild"],
    [["data", "get", "fed-aya", "--source", "x"], "--rebuild with it"],
    [["data", "get", "fed-aya", "--min-samples", "3"], "--rebuild or --unfiltered with it"],
    [["data", "get", "fed-aya", "--unfiltered"], "Fetch the folder with a browser from https://drive.google.com/drive/folders/"],
    [["data", "inspect", "dataset:none"], "one of fed-aya"],
    [["data", "analyze", "dataset:fed-aya", "--synthetic"], "an experiment, which says what data to make"],
  ])("%j is refused", async (args, message) => {
    const dataDir = makeTemporaryFolder();
    mkdirSync(join(dataDir, "x"));
    const { exitCode, stderr } = await runCli(args, { env: { FEDLLM_DATA_DIR: dataDir } });
    expect(stderr).toContain(message);
    expect(exitCode).toBe(2);
  });

  test("all users of a data set that are not here are named with the ways to get them", async () => {
    const { exitCode, stderr } = await runCli(["data", "inspect", "dataset:fed-aya/unfiltered"], { env: { FEDLLM_DATA_DIR: makeTemporaryFolder() }, cwd: makeTemporaryFolder() });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("expected all users of Fed-Aya, received no such file. Get it with `data get fed-aya --rebuild`, or out of the authors' release with `--unfiltered --from`");
  });

  test.each([
    ["inspect", "fed-chatbot-pa"],
    ["analyze", "fed-chatbot-pa"],
    ["analyze", "dataset:fed-chatbot-pa/local_154"],
  ])("data %s %s says how to get what is not installed", async (action, name) => {
    const { exitCode, stderr } = await runCli(["data", action, name], { env: { FEDLLM_DATA_DIR: makeTemporaryFolder() }, cwd: makeTemporaryFolder() });
    expect(stderr).toContain(`expected ${name.startsWith("dataset:") ? "a file of " : ""}Fed-ChatbotPA, as the published archive has it, received no such file`);
    expect(stderr).toContain("Get it with `data get fed-chatbot-pa`");
    expect(exitCode).toBe(1);
  });
});
