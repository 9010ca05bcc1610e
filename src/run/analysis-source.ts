/** What `data analyze` looks at: a file of client data, a data set of the catalogue, or the training data of an experiment. */
import { existsSync, statSync } from "node:fs";
import { basename } from "node:path";
import { locateExperiment } from "../config/builtin.js";
import { isDatasetReference } from "../config/known-datasets.js";
import { loadConfig } from "../config/load.js";
import type { ExperimentConfig } from "../config/schema.js";
import { readFederatedDataset } from "../data/dataset.js";
import type { FederatedDataset } from "../data/dataset.js";
import { problemError } from "../errors.js";
import { readNamedDataset, readTrainingDataset } from "./data-source.js";

export interface AnalysisSource {
  /** Of the results; synthetic data of an experiment is named as such. */
  readonly name: string;
  readonly dataset: FederatedDataset;
  /** Absent for data that no experiment names. */
  readonly config?: ExperimentConfig;
}

/**
 * Reads the data. A reference that is neither a file of data, `dataset:NAME` nor an experiment's name or file is refused with
 * CONFIG_INVALID; a bare name of the catalogue is that of the experiment on this data set.
 * `synthetic` takes an experiment's synthetic data in place of its file. Throws also as loadConfig and readFederatedDataset.
 */
export async function readAnalysisSource(reference: string, { synthetic = false }: { readonly synthetic?: boolean } = {}): Promise<AnalysisSource> {
  const isFile = existsSync(reference) && statSync(reference).isFile();
  if (isFile && !/\.ya?ml$/iu.test(reference)) {
    if (synthetic) throw referenceError("--synthetic", "an experiment, which says what data to make", reference);
    const name = basename(reference).replace(/\.(?:json|jsonl|ndjson)(?:\.gz)?$/iu, "");
    return { name, dataset: await readFederatedDataset(reference) };
  }
  if (isDatasetReference(reference)) {
    if (synthetic) throw referenceError("--synthetic", "an experiment, which says what data to make", reference);
    return { name: reference.slice(reference.indexOf(":") + 1).replaceAll("/", "-"), dataset: await readNamedDataset(reference) };
  }
  const located = locateExperiment(reference);
  if (!existsSync(located.file)) {
    throw referenceError("data analyze", "a file of client data, dataset:NAME of data list, or the name or file of an experiment", `${reference}, which does not exist`);
  }
  const { config } = await loadConfig({
    ...located,
    overrides: synthetic ? [{ path: ["data", "synthetic"], value: true, origin: "--synthetic" }] : [],
  });
  return { name: config.name, dataset: await readTrainingDataset(config.data, {}), config };
}

function referenceError(subject: string, expected: string, received: string): Error {
  return problemError("CONFIG_INVALID", { subject, expected, received, remedy: "Make client data with data import or data generate" });
}
