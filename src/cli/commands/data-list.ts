/** `data list`: the data sets that are known by name, and which of them are here. */
import type { CommandModule } from "yargs";
import { formatCount, formatTable } from "../../report/format.js";

export const dataListCommand: CommandModule<object, { json: boolean }> = {
  command: "list",
  describe: "data sets that are known by name, and which are installed",
  builder: (argv) => argv.example("$0 data list", "sizes, licences, and what is installed").option("json", { type: "boolean", default: false, describe: "print one JSON value" }),
  handler: async ({ json }) => {
    const [{ CATALOGUE }, { licenceOf }, { installedPath, readManifest }, { readDataEnvironment }] = await Promise.all([
      import("../../data/catalogue.js"),
      import("../../data/catalogue/published.js"),
      import("../../data/catalogue/store.js"),
      import("../../config/data-environment.js"),
    ]);
    const { dataDir } = readDataEnvironment();
    const entries = await Promise.all(
      CATALOGUE.map(async (entry) => {
        const { name, title, kind, numClients, numSamples } = entry;
        const installed = await readManifest(dataDir, entry);
        return { name, title, kind, numClients, numSamples, licence: licenceOf(entry), ...(installed === undefined ? {} : { installed: { path: installedPath(dataDir, entry), ...installed } }) };
      }),
    );
    if (json) {
      process.stdout.write(`${JSON.stringify(entries, null, 2)}\n`);
      return;
    }
    const lines = [
      ...formatTable(
        [{ title: "name" }, { title: "samples are" }, { title: "clients", align: "right" }, { title: "samples", align: "right" }, { title: "licence" }, { title: "installed" }],
        entries.map((entry) => [
          entry.name,
          entry.kind,
          String(entry.numClients),
          formatCount(entry.numSamples),
          entry.licence.name,
          entry.installed === undefined ? "no" : `${String(entry.installed.numClients)} clients, ${formatCount(entry.installed.numSamples)} samples`,
        ]),
      ),
      "",
      `Folder: ${dataDir}. \`data get <name>\` fetches one, \`data: {train: dataset:<name>}\` in an experiment trains on it.`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};
