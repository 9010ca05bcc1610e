/** `data split` in a process of its own: what it prints. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { runCli } from "../helpers/run-cli.js";
import { makeTemporaryFolder } from "../helpers/temporary-folder.js";

test("data split prints sizes and distances of the clients, and refuses what does not fit", async () => {
  const folder = makeTemporaryFolder();
  const file = join(folder, "in.jsonl");
  writeFileSync(file, Array.from({ length: 30 }, (_, index) => JSON.stringify({ instruction: `q${String(index)}`, response: "a", topic: index % 3 })).join("\n"));
  const out = join(folder, "out.json");
  const args = ["data", "split", file, "--out", out, "--clients", "3", "--method", "pathological", "--by", "field", "--field", "topic", "--shards", "1"];
  const { stdout, stderr, exitCode } = await runCli(args);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
  expect(stdout).toContain("out.json: 3 clients, 30 samples");
  expect(stdout).toMatch(/^client-1 +10 +1 +0\.667 /m);
  expect(stdout).toContain("sizes 10 to 10, Gini coefficient 0.000");
  expect((await runCli(["data", "split", file, "--out", out, "--overwrite", "--clients", "3", "--method", "dirichlet"])).stderr).toContain("--by: expected field, language, length");
});
