/** How the adapter travels between server and clients: `federation.uplink` and `downlink`, and `adapterPrecision`, which is short for one encoding both ways. */
import { z } from "zod";
import { problemError } from "../errors.js";
import { checkLinks, type Links } from "../federated/links.js";
import type { Strategy } from "../federated/strategy.js";
import { checkCompression, COMPRESSIONS } from "../wire/compression.js";
import { isLossy, VALUE_ENCODINGS, type DownlinkFormat, type UplinkFormat } from "../wire/formats.js";
import type { FederationConfig } from "./federation.js";
import type { ArmConfig } from "./schema.js";

/** Far above the update of any training that did not diverge. */
const MAX_NORM = 1e6;

const encoding = z.enum(VALUE_ENCODINGS);
const commonShape = {
  encoding: encoding.optional().describe("f32, f16, bf16, or ggml's blocks of 32 numbers with 8 or 4 bits each; default: f32"),
  topK: z.number().positive().max(1).optional().describe("this part of the numbers is sent, those of largest magnitude, the others count as zero; default: all are"),
  compression: z
    .enum(["none", ...COMPRESSIONS])
    .optional()
    .describe("lossless, of what the encoding made, where it gets smaller by it; zstd from Node 22.15 on; default: none"),
};
const uplinkSection = z.strictObject({
  ...commonShape,
  errorFeedback: z
    .boolean()
    .optional()
    .describe("clients keep what the encoding left out of an update and add it to their next one, 4 bytes for each number; default: true with topK, otherwise false"),
  maxNorm: z.number().positive().max(1e30).optional().describe("an update whose decoded L2 norm is larger is refused; default: 1e6"),
});
const downlinkSection = z.strictObject({
  ...commonShape,
  delta: z.boolean().optional().describe("clients that answered to the last weights are sent what changed since, others the whole in f32; default: false"),
});

export const linksShape = {
  adapterPrecision: encoding.optional().describe("short for the encoding of both uplink and downlink; saved adapters are as the server has them; default: f32"),
  uplink: z
    .union([encoding, uplinkSection])
    .optional()
    .describe("messages from clients to the server, which hold the update: an encoding, or more about it; bytes are those of the messages; default: the vector itself"),
  downlink: z
    .union([encoding, downlinkSection])
    .optional()
    .describe("messages from the server to clients, which hold the weights, or what of them is sent: an encoding, or more about it; default: the vector itself"),
};

/** The formats with their defaults filled in. */
export function linksOf({ adapterPrecision, uplink = adapterPrecision, downlink = adapterPrecision }: Pick<FederationConfig, "adapterPrecision" | "uplink" | "downlink">): Links {
  return {
    ...(uplink === undefined ? {} : { uplink: uplinkOf(typeof uplink === "string" ? { encoding: uplink } : uplink) }),
    ...(downlink === undefined ? {} : { downlink: downlinkOf(typeof downlink === "string" ? { encoding: downlink } : downlink) }),
  };
}

function uplinkOf(section: z.output<typeof uplinkSection>): UplinkFormat {
  const { errorFeedback = section.topK !== undefined, maxNorm = MAX_NORM } = section;
  return { ...formatOf(section), errorFeedback, maxNorm };
}

function downlinkOf(section: z.output<typeof downlinkSection>): DownlinkFormat {
  return { ...formatOf(section), delta: section.delta ?? false };
}

function formatOf({ encoding: name = "f32", topK, compression = "none" }: z.output<typeof downlinkSection> | z.output<typeof uplinkSection>) {
  return { encoding: name, ...(topK === undefined ? {} : { topK }), ...(compression === "none" ? {} : { compression }) };
}

/** Throws CONFIG_INVALID for formats that contradict themselves, the strategy or the arm's privacy, saying why. */
export function checkLinksConfig({ name, federation, privacy }: ArmConfig, strategy: Strategy): void {
  const place = ` of arm ${name}`;
  const refuse = (field: string, expected: string, received: string, remedy?: string) =>
    problemError("CONFIG_INVALID", { subject: `federation.${field}${place}`, expected, received, ...(remedy === undefined ? {} : { remedy }) });
  const { adapterPrecision } = federation;
  const beside = (["uplink", "downlink"] as const).find((field) => federation[field] !== undefined);
  if (adapterPrecision !== undefined && beside !== undefined) throw refuse("adapterPrecision", `nothing beside ${beside}, for which it is short`, adapterPrecision);
  const links = linksOf(federation);
  const { uplink, downlink } = links;
  for (const [field, compression] of [["uplink", uplink?.compression], ["downlink", downlink?.compression]] as const) {
    if (compression !== undefined) checkCompression(compression, `federation.${field}.compression${place}`);
  }
  if (uplink?.errorFeedback === true && !isLossy(uplink)) throw refuse("uplink.errorFeedback", "an encoding that leaves something out, or topK", "f32, which leaves out nothing");
  if (downlink?.topK !== undefined && !downlink.delta) {
    throw refuse("downlink.topK", "delta: true, since the small numbers of an adapter are not superfluous, but small changes can wait", "delta: false");
  }
  checkLinks(strategy, links, place);
  if (privacy === undefined) return;
  if (privacy.dp === "paper" && uplink !== undefined) {
    throw refuse("uplink", "nothing with dp: paper, whose noise clients add before they send, so that other messages would travel than those that are measured", uplink.encoding);
  }
  if (uplink?.errorFeedback === true) {
    throw refuse("uplink.errorFeedback", "false with dp: user", "true", "What a client sends would depend on the rounds it was drawn in before, which the accountant takes to say nothing");
  }
  if (downlink?.delta === true) {
    throw refuse("downlink.delta", "false with dp: user", "true", "The size of what a client is sent would tell whether it was drawn in the round before, which has to stay secret");
  }
}
