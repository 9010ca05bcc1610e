/** `data get <name>`: installs a data set of the catalogue from an archive, a folder, the network or its original source. */
import { createInterface } from "node:readline/promises";
import type { CommandModule } from "yargs";
import type { DataEnvironment } from "../../config/data-environment.js";
import type { CatalogueEntry } from "../../data/catalogue.js";
import type { DatasetManifest } from "../../data/catalogue/store.js";
import { problemError } from "../../errors.js";
import { printable } from "../../report/format.js";
import { createByteProgress } from "../import-options.js";

interface Arguments {
  readonly name: string;
  readonly from: string | undefined;
  readonly url: string | undefined;
  readonly rebuild: boolean;
  readonly source: readonly string[];
  readonly unfiltered: boolean;
  readonly minSamples: number | undefined;
  readonly acceptLicence: boolean;
  readonly offline: boolean;
  readonly json: boolean;
}

export const dataGetCommand: CommandModule<object, Arguments> = {
  command: "get <name>",
  describe: "install a data set of `data list`",
  builder: (argv) =>
    argv.example("$0 data get fed-aya --from downloads/fedllm-bench.zip", "from an archive that is here already")
      .positional("name", { type: "string", demandOption: true, describe: "name as `data list` shows it" })
      .option("from", { type: "string", requiresArg: true, describe: "zip archive or folder in the published layout, or the file of all clients" })
      .option("url", { type: "string", requiresArg: true, describe: "another address of the published archive, or of the file of all clients" })
      .option("rebuild", { type: "boolean", default: false, describe: "make it again from the original source on the Hugging Face hub" })
      .option("source", { type: "string", array: true, nargs: 1, default: [], describe: "a file of the original source that is here already, with --rebuild; may be repeated" })
      .option("unfiltered", { type: "boolean", default: false, describe: "--from is the release that has users of every size: all are kept beside those with enough samples" })
      .option("min-samples", { type: "number", requiresArg: true, describe: "with --rebuild and --unfiltered: users with fewer samples are left out; default: as in the paper" })
      .option("accept-licence", { type: "boolean", default: false, describe: "accept the terms of use without being asked" })
      .option("offline", { type: "boolean", default: false, describe: "use what is here; ask no server" })
      .option("json", { type: "boolean", default: false, describe: "print the result as one JSON value" }) as never,
  handler: async (values) => {
    const [{ requireEntry }, { readDataEnvironment }] = await Promise.all([import("../../data/catalogue/published.js"), import("../../config/data-environment.js")]);
    const entry = requireEntry(values.name);
    await checkTogether(values);
    const environment = readDataEnvironment();
    await requireLicence(environment.dataDir, entry, values.acceptLicence);
    const progress = createByteProgress(entry.name);
    const manifest = await install(entry, values, environment, progress.update).finally(progress.finish);
    if (values.json) {
      process.stdout.write(`${JSON.stringify(manifest, null, 2)}\n`);
      return;
    }
    const lines = [
      `${entry.name}: ${String(manifest.numClients)} clients, ${String(manifest.numSamples)} samples, SHA-256 ${manifest.sha256}`,
      ...manifest.warnings.map((warning) => `warning: ${printable(warning)}`),
      `Train on it with data: {train: dataset:${entry.name}}`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

async function install(entry: CatalogueEntry, values: Arguments, { dataDir, hub, proxies }: DataEnvironment, onProgress: (numBytes: number, total?: number) => void): Promise<DatasetManifest> {
  const network = { isOffline: values.offline || hub.isOffline, ...proxies };
  const { makeFolder } = await import("../../util/atomic-file.js");
  await makeFolder(dataDir);
  if (values.rebuild) {
    const { rebuildDataset } = await import("../../data/catalogue/rebuild.js");
    const { minSamples, source } = values;
    const sources = source.length === 0 ? {} : { sources: source };
    return rebuildDataset({ folder: dataDir, entry, hub: { ...hub, network, onProgress }, onProgress, ...sources, ...(minSamples === undefined ? {} : { minSamples }) });
  }
  if (values.unfiltered && values.from !== undefined) {
    const { installUnfiltered } = await import("../../data/catalogue/rebuild.js");
    const { from, minSamples } = values;
    return installUnfiltered({ folder: dataDir, entry, from, onProgress, ...(minSamples === undefined ? {} : { minSamples }) });
  }
  if (values.from !== undefined) return (await import("../../data/catalogue/install.js")).installFrom(dataDir, entry, values.from);
  const { installFromArchive } = await import("../../data/catalogue/fetch-archive.js");
  return installFromArchive(dataDir, entry, { network, onProgress, ...(values.url === undefined ? {} : { url: values.url }) });
}

async function checkTogether({ from, url, rebuild, source, unfiltered, minSamples }: Arguments): Promise<void> {
  const ways = [from !== undefined ? "--from" : "", url !== undefined ? "--url" : "", rebuild ? "--rebuild" : ""].filter((way) => way !== "");
  const refuse = (subject: string, expected: string, received: string) => problemError("CONFIG_INVALID", { subject, expected, received });
  if (ways.length > 1) throw refuse("data get", "one of --from, --url and --rebuild", ways.join(" and "));
  if (!rebuild && source.length > 0) throw refuse("--source", "--rebuild with it", "none");
  if (!rebuild && !unfiltered && minSamples !== undefined) throw refuse("--min-samples", "--rebuild or --unfiltered with it", "none");
  if (!unfiltered || from !== undefined) return;
  const { UNFILTERED_URL } = await import("../../data/catalogue/published.js");
  const remedy = `Fetch the folder with a browser from ${UNFILTERED_URL} (an address of the benchmark's README, not tried), or use --rebuild, which keeps all users too`;
  throw problemError("CONFIG_INVALID", { subject: "--unfiltered", expected: "--from with it", received: ways[0] ?? "none", remedy });
}

/** Shows the terms once; they are accepted by the flag or at the terminal, and that is remembered. Throws CONFIG_INVALID. */
async function requireLicence(dataDir: string, entry: CatalogueEntry, isAccepted: boolean): Promise<void> {
  const [{ licenceOf }, { acceptLicence, licenceAcceptedAt }] = await Promise.all([import("../../data/catalogue/published.js"), import("../../data/catalogue/store.js")]);
  if ((await licenceAcceptedAt(dataDir, entry)) !== undefined) return;
  const { name, url, note } = licenceOf(entry);
  process.stderr.write(`${entry.title}\nLicence: ${name} (${note}), ${url}\n`);
  if (!isAccepted && !(await askToAccept())) {
    throw problemError("CONFIG_INVALID", {
      subject: `licence of ${entry.name}`,
      expected: `acceptance of ${name}`,
      received: "none",
      remedy: "Read the terms and add --accept-licence",
    });
  }
  await acceptLicence(dataDir, entry);
}

async function askToAccept(): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return false;
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question("Do you accept these terms? [y/N] ")).trim());
  } finally {
    terminal.close();
  }
}
