/** `data generate <profile>`: synthetic client data with known truth. */
import type { CommandModule, InferredOptionTypes } from "yargs";
import { formatCount } from "../../report/format.js";
import { SYNTHETIC_PROFILE_NAMES } from "../../data/synthetic/profiles.js";
import type { SyntheticProfile } from "../../data/synthetic/profiles.js";

const generateOptions = {
  seed: { type: "number", default: 1, describe: "seed of every draw; 0 is a seed" },
  out: { type: "string", requiresArg: true, describe: "file of the data (default: synthetic-PROFILE.json); the truth goes to NAME.truth.jsonl beside it" },
  set: {
    type: "string",
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: "any field of data.generated, for example --set numClients=20 --set languages={en: 1}; may be repeated",
  },
  json: { type: "boolean", default: false, describe: "print the result as JSON" },
} as const;

type GenerateArguments = InferredOptionTypes<typeof generateOptions> & { readonly profile: SyntheticProfile };

export const generateCommand: CommandModule<object, GenerateArguments> = {
  command: "generate <profile>",
  describe: "make synthetic client data whose languages, quality and preferences are known",
  builder: (argv) =>
    argv.example("$0 data generate fed-aya --out clients.json --seed 1", "synthetic clients with the statistics of Fed-Aya")
      .positional("profile", { choices: SYNTHETIC_PROFILE_NAMES, demandOption: true, describe: "published statistics to follow" })
      .options(generateOptions),
  handler: async ({ profile, seed, out, set, json }) => {
    const [{ parseGenerated }, { writeSyntheticData }, { parseSetOption }] = await Promise.all([
      import("../../config/data-source.js"),
      import("../../data/synthetic/write.js"),
      import("../../config/load.js"),
    ]);
    const source = parseGenerated({ profile, seed }, (set ?? []).map((text) => parseSetOption(text)));
    const written = await writeSyntheticData(out ?? `synthetic-${profile}.json`, source);
    if (json) {
      process.stdout.write(`${JSON.stringify({ synthetic: true, profile, seed, ...written })}\n`);
      return;
    }
    const { path, truthPath, numClients, numSamples, sha256 } = written;
    const lines = [
      `${path}: ${formatCount(numSamples)} synthetic samples of ${formatCount(numClients)} clients, SHA-256 ${sha256}`,
      `${truthPath}: language, task, quality and preference of every sample`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};
