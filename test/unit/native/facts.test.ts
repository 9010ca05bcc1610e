import { expect, test } from "vitest";
import { collectNativeFacts } from "../../../src/native/facts.js";
import { pinnedNodeLlamaCppVersion } from "../../../src/native/libraries.js";

test("facts name this platform, the installed node-llama-cpp and every place of the addon", async () => {
  const facts = await collectNativeFacts({ cacheDir: "/nowhere", noColor: false, isCi: false });
  expect(facts.platform).toBe(`${process.platform}-${process.arch}`);
  expect(facts.nodeLlamaCppVersion).toBe(pinnedNodeLlamaCppVersion());
  expect(facts.addonCandidates.map((candidate) => candidate.source)).toEqual(["checkout", "prebuild", "cache"]);
  expect(facts.addonCandidates.at(-1)).toMatchObject({ exists: false });
  expect(facts.addonCandidates.at(-1)?.path).toMatch(/^\/nowhere\/native\//u);
});

test("a set addon path replaces all other places", async () => {
  const facts = await collectNativeFacts({ nativePath: "/x.node", cacheDir: "/nowhere", noColor: false, isCi: false });
  expect(facts.addonCandidates).toEqual([{ source: "environment", path: "/x.node", exists: false }]);
});
