/** The section `federation`: clients that are slow or fail, and the devices that a simulated clock gives them. */
import { z } from "zod";
import { problemError } from "../errors.js";
import { deviceOf, type DeviceAssignment, type DeviceProfile } from "../federated/devices.js";
import { PRECISION_NAMES } from "./names.js";
import type { Participation } from "../federated/participation.js";

const MEGABIT_BYTES = 1e6 / 8;
const GIB_BYTES = 2 ** 30;

const profile = z.strictObject({
  tokensPerSecond: z.number().positive().describe("tokens per second that this device trains"),
  uploadMbps: z.number().positive().default(10).describe("megabits per second from the client to the server"),
  downloadMbps: z.number().positive().default(50).describe("megabits per second from the server to the client"),
  memoryGiB: z.number().positive().optional().describe("memory; a client whose device cannot hold the base model's weights fails; default: enough"),
  failureProbability: z.number().min(0).lt(1).default(0).describe("probability that one attempt at a round breaks off"),
  precision: z
    .enum(PRECISION_NAMES)
    .optional()
    .describe("weights of the base model that clients with this device train on; default: the arm's precision"),
});

const devicesSection = z.strictObject({
  profiles: z.record(z.string().min(1), profile).describe("kinds of machines by name"),
  shares: z
    .record(z.string().min(1), z.number().min(0))
    .default({})
    .describe("how often each profile is drawn, in proportion, for clients that are not named below; default: all equally"),
  clients: z.record(z.string().min(1), z.string().min(1)).default({}).describe("profile by client id"),
  speedSpread: z
    .discriminatedUnion("distribution", [
      z.strictObject({ distribution: z.literal("lognormal"), sigma: z.number().positive().max(3) }),
      z.strictObject({ distribution: z.literal("uniform"), width: z.number().positive().lt(1) }),
    ])
    .optional()
    .describe("a factor of each client's speed: exp(sigma z) with z standard normal, or from 1 - width to 1 + width; drawn by the seed"),
});

export const federationShape = {
  overSelection: z
    .number()
    .min(1)
    .max(10)
    .default(1)
    .describe("so many times clientsPerRound are asked, and the first clientsPerRound answers on the simulated clock count"),
  clientTimeoutSeconds: z
    .number()
    .positive()
    .optional()
    .describe("simulated time after which a client that has not answered counts as failed; default: the server waits"),
  attempts: z.int().min(1).max(100).default(1).describe("how often a client that fails is asked in one round before the failure stands"),
  adapterPerGroup: z
    .boolean()
    .default(false)
    .describe("one adapter for each group of data.groups instead of one for all: clientsPerRound clients are drawn from each group, and means are inside it"),
  devices: devicesSection.optional().describe("machines of the clients for a simulated clock; default: no such clock"),
};

export const federationSection = z.strictObject(federationShape);

/** Slow and failing clients. */
export type FederationConfig = z.output<typeof federationSection>;

/** Throws CONFIG_INVALID for settings that need a clock that is not there, and for profiles that do not exist. */
export function checkFederationConfig(federation: FederationConfig, place: string): void {
  const { devices } = federation;
  if (devices === undefined) {
    const needing = [
      ["overSelection", federation.overSelection > 1],
      ["clientTimeoutSeconds", federation.clientTimeoutSeconds !== undefined],
    ] as const;
    const [field] = needing.find(([, isUsed]) => isUsed) ?? [];
    if (field === undefined) return;
    throw problemError("CONFIG_INVALID", {
      subject: `federation.${field}${place}`,
      expected: "federation.devices, whose simulated clock it goes by",
      received: "no devices",
    });
  }
  const known = Object.keys(devices.profiles);
  for (const [field, names] of [["shares", Object.keys(devices.shares)], ["clients", Object.values(devices.clients)]] as const) {
    const unknown = names.find((name) => !Object.hasOwn(devices.profiles, name));
    if (unknown === undefined) continue;
    throw problemError("CONFIG_INVALID", {
      subject: `federation.devices.${field}${place}`,
      expected: `names of profiles (${known.join(", ")})`,
      received: JSON.stringify(unknown),
    });
  }
  const shares = Object.values(devices.shares);
  if (known.length > 0 && (shares.length === 0 || shares.some((share) => share > 0))) return;
  throw problemError("CONFIG_INVALID", {
    subject: `federation.devices${place}`,
    expected: "at least one profile that can be drawn",
    received: known.length === 0 ? "no profile" : "shares of 0 only",
  });
}

/** What the federation needs to know; `memoryBytesNeeded` is the size of a device's base model. */
export function participationOf(federation: FederationConfig, seed: number, memoryBytesNeeded: (device: DeviceProfile) => number): Participation {
  const { overSelection, clientTimeoutSeconds, attempts, devices } = federation;
  const common = { overSelection, attempts, ...(clientTimeoutSeconds === undefined ? {} : { timeoutMs: clientTimeoutSeconds * 1000 }) };
  if (devices === undefined) return common;
  const assignment = assignmentOf(devices);
  return { ...common, memoryBytesNeeded, deviceOf: (clientId) => deviceOf(assignment, seed, clientId) };
}

function assignmentOf({ profiles, shares, clients, speedSpread }: NonNullable<FederationConfig["devices"]>): DeviceAssignment {
  return {
    profiles: Object.entries(profiles).map(([name, values]): DeviceProfile => {
      const { tokensPerSecond, uploadMbps, downloadMbps, memoryGiB, failureProbability, precision } = values;
      return {
        name,
        tokensPerSecond,
        failureProbability,
        uploadBytesPerSecond: uploadMbps * MEGABIT_BYTES,
        downloadBytesPerSecond: downloadMbps * MEGABIT_BYTES,
        ...(precision === undefined ? {} : { precision }),
        ...(memoryGiB === undefined ? {} : { memoryBytes: memoryGiB * GIB_BYTES }),
      };
    }),
    shares,
    clients,
    ...(speedSpread === undefined ? {} : { speedSpread }),
  };
}
