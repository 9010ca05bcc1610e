/** The training data of a configuration: a file, or synthetic data that is made while it is read. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { syntheticSource } from "../config/data-source.js";
import type { GeneratedConfig } from "../config/generated.js";
import type { DataConfig } from "../config/schema.js";
import { catalogueFileAt, type CatalogueFile } from "../data/catalogue.js";
import { parseDatasetText, readFederatedDataset } from "../data/dataset.js";
import type { FederatedDataset, ReadDatasetOptions } from "../data/dataset.js";
import { hashing, syntheticText } from "../data/synthetic/write.js";
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
  if (known === undefined) return readFederatedDataset(data.train, options);
  throw problemError("IO_FAILED", {
    subject: data.train,
    expected: `${known.local === undefined ? known.entry.title : `a file of ${known.entry.title}`}, as the published archive has it`,
    received: "no such file",
    remedy: howToGet(known),
  });
}

/** The file of the catalogue that the configuration names and that is not there; undefined: there is one, or it is another file. */
export function missingDataset(data: DataConfig): CatalogueFile | undefined {
  return data.synthetic || existsSync(data.train) ? undefined : catalogueFileAt(data.train);
}

/** What a user can do. */
export function howToGet({ entry }: CatalogueFile): string {
  return `Get it with \`data get ${entry.name}\`, unpack the archive of FedLLM-Bench into ./data, name the file with --data, or use synthetic data of the same statistics with --synthetic (${entry.name})`;
}

/** Says that results are of synthetic data; for every place that shows them. */
export function describeSynthetic({ profile, seed }: GeneratedConfig): string {
  return `the data is synthetic (profile ${profile}, seed ${String(seed)}), made by this program: results say nothing about the published data set`;
}
