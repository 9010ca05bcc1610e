/** The section `federation`: clients that are slow or fail, and the devices that a simulated clock gives them. */
import { basename } from "node:path";
import { z } from "zod";
import { problemError } from "../errors.js";
import { deviceOf, type DeviceAssignment, type DeviceProfile } from "../federated/devices.js";
import { linksShape } from "./links.js";
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
  model: z
    .string()
    .regex(/.\.gguf$/i, "a .gguf file")
    .optional()
    .describe("GGUF file of the same model that clients with this device train on, instead of a precision made from the experiment's model"),
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
  wallClockTimeoutSeconds: z
    .number()
    .positive()
    .max(1e6)
    .optional()
    .describe("real time after which a client that still trains is stopped and counts as failed, each time it is asked; who fails then depends on the machine, so the run does not repeat bit for bit; default: clients take their time"),
  attempts: z.int().min(1).max(100).default(1).describe("how often a client that fails is asked in one round before the failure stands"),
  ...linksShape,
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
  checkProfileModels(devices.profiles, place);
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

/** The base model of a profile: a precision, or for a file of its own the file's name; undefined: the arm's. */
export function baseModelOf({ precision, model }: Pick<z.output<typeof profile>, "precision" | "model">): string | undefined {
  return model === undefined ? precision : basename(model);
}

/** The files that profiles name, by the file's name. */
export function profileModels({ devices }: FederationConfig): ReadonlyMap<string, string> {
  return new Map(Object.values(devices?.profiles ?? {}).flatMap(({ model }) => (model === undefined ? [] : [[basename(model), model] as const])));
}

/** Without the folders of the files that profiles name: what the files hold is recorded as a hash. */
export function withoutFolders(federation: FederationConfig): FederationConfig {
  const { devices } = federation;
  if (devices === undefined) return federation;
  const profiles = Object.entries(devices.profiles).map(([name, { model, ...rest }]) => [name, model === undefined ? rest : { ...rest, model: basename(model) }] as const);
  return { ...federation, devices: { ...devices, profiles: Object.fromEntries(profiles) } };
}

/** Where in an experiment profiles may name files: the paths of the fields `model` in the common section and in those of the arms. */
export function profileModelFields(experiment: object): readonly (readonly string[])[] {
  const { federation, arms } = experiment as { readonly federation?: unknown; readonly arms?: unknown };
  const sections: (readonly [readonly string[], unknown])[] = [[["federation"], federation]];
  const isList = Array.isArray(arms);
  const entries = isList ? arms : ((arms as { readonly byStrategy?: object } | undefined)?.byStrategy ?? {});
  for (const [name, arm] of Object.entries(entries as Record<string, { readonly federation?: unknown } | undefined>)) {
    sections.push([["arms", ...(isList ? [] : ["byStrategy"]), name, "federation"], arm?.federation]);
  }
  return sections.flatMap(([path, section]) => {
    const { devices } = (section ?? {}) as { readonly devices?: { readonly profiles?: object } };
    return Object.keys(devices?.profiles ?? {}).map((name) => [...path, "devices", "profiles", name, "model"]);
  });
}

function checkProfileModels(profiles: Readonly<Record<string, z.output<typeof profile>>>, place: string): void {
  const files = new Map<string, string>();
  for (const [name, { precision, model }] of Object.entries(profiles)) {
    if (model === undefined) continue;
    const subject = `federation.devices.profiles.${name}${place}`;
    if (precision !== undefined) throw problemError("CONFIG_INVALID", { subject, expected: "either precision or model", received: "both" });
    const known = files.get(basename(model));
    if (known !== undefined && known !== model) {
      throw problemError("CONFIG_INVALID", { subject: `${subject}.model`, expected: `a file name of its own, since figures go by it (another is ${known})`, received: model });
    }
    files.set(basename(model), model);
  }
}

/** What the federation needs to know; `memoryBytesNeeded` is the size of a device's base model. */
export function participationOf(federation: FederationConfig, seed: number, memoryBytesNeeded: (device: DeviceProfile) => number): Participation {
  const { overSelection, clientTimeoutSeconds, wallClockTimeoutSeconds, attempts, devices } = federation;
  const common = {
    overSelection,
    attempts,
    ...(clientTimeoutSeconds === undefined ? {} : { timeoutMs: clientTimeoutSeconds * 1000 }),
    ...(wallClockTimeoutSeconds === undefined ? {} : { wallClockTimeoutMs: wallClockTimeoutSeconds * 1000 }),
  };
  if (devices === undefined) return common;
  const assignment = assignmentOf(devices);
  return { ...common, memoryBytesNeeded, deviceOf: (clientId) => deviceOf(assignment, seed, clientId) };
}

function assignmentOf({ profiles, shares, clients, speedSpread }: NonNullable<FederationConfig["devices"]>): DeviceAssignment {
  return {
    profiles: Object.entries(profiles).map(([name, values]): DeviceProfile => {
      const { tokensPerSecond, uploadMbps, downloadMbps, memoryGiB, failureProbability } = values;
      const precision = baseModelOf(values);
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
