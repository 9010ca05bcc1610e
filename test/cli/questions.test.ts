/** `questions list` and `questions get` in processes of their own. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { serve, startFileServer } from "../helpers/file-server.js";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

test("questions get takes a file, says its licence and what differs, and questions list knows it", async () => {
  const env = { FEDLLM_DATA_DIR: makeTemporaryFolder() };
  const file = join(makeTemporaryFolder(), "mine.jsonl");
  writeFileSync(file, '{"question": "Why?"}\n');
  const { stdout, stderr, exitCode } = await runCli(["questions", "get", "vicuna", "--from", file], { env });
  expect(exitCode).toBe(0);
  expect(stderr).toContain("Licence: Apache-2.0");
  expect(stdout).toContain("vicuna: 1 questions");
  expect(stdout).toContain("warning: 80 questions are published, these are 1");
  const listed = JSON.parse((await runCli(["questions", "list", "--json"], { env })).stdout) as { name: string; installed?: { numItems: number } }[];
  expect(listed.filter(({ installed }) => installed !== undefined)).toMatchObject([{ name: "vicuna", installed: { numItems: 1 } }]);
});

test("a token goes to the hub alone", async () => {
  const questions = Buffer.from('{"question": "Why?"}\n');
  const { origin, requests } = await startFileServer(serve(questions));
  const env = { FEDLLM_DATA_DIR: makeTemporaryFolder(), HF_TOKEN: "hf_secret", HTTP_PROXY: undefined, http_proxy: undefined };
  const args = ["questions", "get", "vicuna", "--url", `${origin}/q.jsonl`];
  for (const HF_ENDPOINT of [undefined, origin]) {
    const { stderr, exitCode } = await runCli(args, { env: { ...env, HF_ENDPOINT } });
    // Other bytes than the published ones.
    expect(stderr).toContain("DOWNLOAD_FAILED");
    expect(stderr).not.toContain("hf_secret");
    expect(exitCode).toBe(1);
  }
  expect(requests.map(({ headers }) => headers.authorization)).toEqual([undefined, "Bearer hf_secret"]);
});

test.each([
  [["get", "vicunaa"], 2, "expected one of mt-bench"],
  [["get", "vicuna", "--from", "a", "--url", "http://b"], 2, "expected one of --from and --url"],
  [["get", "all", "--from", "a"], 2, "expected one name with --from and --url"],
  [["get", "gsm8k", "--offline"], 1, "offline mode"],
])("questions %j is refused", async (args, code, message) => {
  const { exitCode, stderr } = await runCli(["questions", ...args], { env: { FEDLLM_DATA_DIR: makeTemporaryFolder() } });
  expect(stderr).toContain(message);
  expect(exitCode).toBe(code);
});
