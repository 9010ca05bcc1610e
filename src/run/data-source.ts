/** The training data of a configuration: a file, or synthetic data that is made while it is read. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { syntheticSource } from "../config/data-source.js";
import type { GeneratedConfig } from "../config/generated.js";
import { asDatasetReference, locateDataset } from "../config/known-datasets.js";
import type { DataConfig } from "../config/schema.js";
import { CATALOGUE, catalogueFileAt, type CatalogueFile } from "../data/catalogue.js";
import { parseDatasetText, readFederatedDataset } from "../data/dataset.js";
import type { FederatedDataset, ReadDatasetOptions } from "../data/dataset.js";
import { hashing, syntheticText } from "../data/synthetic/write.js";
import { unfilteredPath } from "../data/unfiltered.js";
import { problemError } from "../errors.js";

/** Reads or makes it; the hash of synthetic data is that of the file that `data generate` writes. Throws as readFederatedDataset. */
export async function readTrainingDataset(data: DataConfig, options: ReadDatasetOptions): Promise<FederatedDataset> {
  if (data.synthetic) {
    const hash = createHash("sha256");
    const text = hashing(syntheticText(syntheticSource(data.generated)), hash);
    const contents = await parseDatasetText(text, `synthetic-${data.generated.profile}.json`, options);
    return { ...contents, sha256: hash.digest("hex") };
  }
  const known = missingDataset(data);
  if (known !== undefined) throw missingError(data.train, known, howToGet(known));
  requireUnfiltered(data.train);
  return readFederatedDataset(data.train, options);
}

/** The data of a file, of `dataset:NAME` or of a bare name of the catalogue. Throws as readFederatedDataset, CONFIG_INVALID for an unknown name. */
export async function readNamedDataset(nameOrFile: string): Promise<FederatedDataset> {
  const reference = asDatasetReference(nameOrFile);
  if (reference === undefined) return readFederatedDataset(nameOrFile);
  const file = locateDataset(reference, process.cwd());
  const known = existsSync(file) ? undefined : catalogueFileAt(file);
  if (known !== undefined) throw missingError(file, known, howToInstall(known));
  requireUnfiltered(file);
  return readFederatedDataset(file);
}

/** The file of the catalogue that the configuration names and that is not there; undefined: there is one, or it is another file. */
export function missingDataset(data: DataConfig): CatalogueFile | undefined {
  return data.synthetic || existsSync(data.train) ? undefined : catalogueFileAt(data.train);
}

/** What a user who wants to train on it can do. */
export function howToGet({ entry }: CatalogueFile): string {
  return `Get it with \`data get ${entry.name}\`, unpack the archive of FedLLM-Bench into ./data, name the file with --data, or use synthetic data of the same statistics with --synthetic (${entry.name})`;
}

function howToInstall({ entry }: CatalogueFile): string {
  return `Get it with \`data get ${entry.name}\`, unpack the archive of FedLLM-Bench into ./data, or make data of the same statistics with \`data generate ${entry.name}\``;
}

function missingError(path: string, { entry, local }: CatalogueFile, remedy: string): Error {
  const expected = `${local === undefined ? entry.title : `a file of ${entry.title}`}, as the published archive has it`;
  return problemError("IO_FAILED", { subject: path, expected, received: "no such file", remedy });
}

/** Refuses a file of all users of the catalogue that is not there. Of its counts nothing is known, so nothing stands in for it. */
function requireUnfiltered(path: string): void {
  const entry = existsSync(path) ? undefined : CATALOGUE.find(({ file }) => path.replaceAll("\\", "/").endsWith(`/${unfilteredPath(file)}`));
  if (entry === undefined) return;
  const remedy = `Get it with \`data get ${entry.name} --rebuild\`, or out of the authors' release with \`--unfiltered --from\``;
  throw problemError("IO_FAILED", { subject: path, expected: `all users of ${entry.title}`, received: "no such file", remedy });
}

/** Says that results are of synthetic data; for every place that shows them. */
export function describeSynthetic({ profile, seed }: GeneratedConfig): string {
  return `the data is synthetic (profile ${profile}, seed ${String(seed)}), made by this program: results say nothing about the published data set`;
}
