/** What the ways to write uplink and downlink come to, and which of them are refused, each with its reason. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stringify } from "yaml";
import { linksOf } from "../../../src/config/links.js";
import { loadConfig } from "../../../src/config/load.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

async function load(experiment: object) {
  const file = join(makeTemporaryFolder(), "experiment.yaml");
  writeFileSync(file, stringify({ data: { train: "clients.json" }, ...experiment }));
  return (await loadConfig({ file })).config;
}

test("an encoding alone, a section, and the short form for both directions", () => {
  const plain = { errorFeedback: false, maxNorm: 1e6 };
  expect(linksOf({})).toEqual({});
  expect(linksOf({ adapterPrecision: "f16" })).toEqual({ uplink: { encoding: "f16", ...plain }, downlink: { encoding: "f16", delta: false } });
  expect(linksOf({ uplink: "q8_0" })).toEqual({ uplink: { encoding: "q8_0", ...plain } });
  expect(linksOf({ uplink: { topK: 0.1, maxNorm: 5, compression: "deflate" } })).toEqual({ uplink: { encoding: "f32", topK: 0.1, compression: "deflate", errorFeedback: true, maxNorm: 5 } });
  expect(linksOf({ uplink: { topK: 0.1, errorFeedback: false } }).uplink?.errorFeedback).toBe(false);
  expect(linksOf({ downlink: { encoding: "q4_0", delta: true, compression: "none" } })).toEqual({ downlink: { encoding: "q4_0", delta: true } });
});

test("they are dimensions of a grid, by name and with what belongs to them", async () => {
  const { arms } = await load({ arms: { strategies: ["fedavg"], vary: { "federation.uplink": ["q8_0", { encoding: "q4_0", topK: 0.1 }], "federation.downlink.delta": [true] } } });
  expect(arms.map(({ name }) => name)).toEqual(["source-fedavg-uplinkq8_0-deltatrue", "source-fedavg-uplinkencoding.q4_0.topK.0.1-deltatrue"]);
  expect(arms.map(({ federation }) => linksOf(federation).uplink?.encoding)).toEqual(["q8_0", "q4_0"]);
});

const user = { dp: "user", epsilon: 4 };

test.each<readonly [string, object, RegExp]>([
  ["the short form beside the long one", { federation: { adapterPrecision: "f16", uplink: "q8_0" } }, /adapterPrecision of arm \S+: expected nothing beside uplink/u],
  ["feedback of what leaves nothing out", { federation: { uplink: { errorFeedback: true } } }, /which leaves out nothing/u],
  ["a part of whole weights", { federation: { downlink: { topK: 0.1 } } }, /delta: true, since the small numbers of an adapter are not superfluous/u],
  ["no part at all", { federation: { uplink: { topK: 0 } } }, /topK/u],
  ["an unknown encoding", { federation: { uplink: "q5_0" } }, /uplink/u],
  ["control variates beside rounded updates", { federation: { uplink: "f16" }, arms: [{ strategy: "scaffold" }] }, /f32 with strategy scaffold, whose control variates/u],
  ["rounded weights where the server mixes", { federation: { downlink: "f16" }, arms: [{ strategy: "fedbuff" }] }, /mixes updates with the weights it sent earlier/u],
  ["feedback of clients that keep nothing", { federation: { uplink: { topK: 0.1 } }, arms: [{ strategy: "fedasync" }] }, /whose clients keep nothing/u],
  ["feedback in another basis", { federation: { uplink: { topK: 0.1 } }, arms: [{ strategy: "flexlora" }] }, /means nothing in the next/u],
  ["differences in another basis", { federation: { downlink: { delta: true } }, arms: [{ strategy: "fedsvd" }] }, /a difference is as large as the whole/u],
  ["feedback under privacy", { privacy: user, federation: { uplink: { topK: 0.1 } } }, /depend on the rounds it was drawn in before/u],
  ["differences under privacy", { privacy: user, federation: { downlink: { delta: true } } }, /tell whether it was drawn in the round before/u],
  ["messages of the paper's noise", { privacy: { dp: "paper", epsilon: 1 }, federation: { uplink: "f16" } }, /whose noise clients add before they send/u],
])("%s is refused with the reason", async (_name, experiment, message) => {
  await expect(load(experiment)).rejects.toThrow(message);
});

test("what is defined together is taken", async () => {
  await load({ privacy: user, federation: { uplink: { encoding: "q8_0", compression: "deflate" }, downlink: "f16" } });
  await load({ federation: { uplink: { encoding: "q4_0", topK: 0.1 } }, arms: [{ strategy: "fedex-lora" }, { strategy: "fed-sb" }, { strategy: "fedsa-lora" }] });
  await load({ federation: { uplink: "q8_0" }, arms: [{ strategy: "local" }, { strategy: "centralized" }, { strategy: "fedbuff" }] });
});
