/**
 * The folder of installed data sets, in the layout of the published archive (`Fed-Aya/aya_38c_25k.json`, `Fed-Aya/local/…`), with a
 * `dataset.json` in each, which says where the data came from and what it holds. `licences.json` has the terms that were accepted.
 */
import { existsSync } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { FedllmError, problemError } from "../../errors.js";
import { makeFolder, readFileWithin, writeFileAtomic } from "../../util/atomic-file.js";
import type { CatalogueEntry } from "../catalogue.js";
import { folderOf, licenceOf } from "./published.js";

const MANIFEST_NAME = "dataset.json";
const LICENCES_NAME = "licences.json";
const MAX_MANIFEST_BYTES = 2 ** 20;

const manifestSchema = z.object({
  name: z.string(),
  /** Address, archive or files that it was made of. */
  source: z.string(),
  installedAt: z.string(),
  numClients: z.int(),
  numSamples: z.int(),
  /** Of the file of all clients, in hexadecimal digits. */
  sha256: z.string(),
  /** Differences from what the paper says. */
  warnings: z.array(z.string()),
});
const licencesSchema = z.record(z.string(), z.object({ licence: z.string(), acceptedAt: z.string() }));

/** What is known about an installed data set. */
export type DatasetManifest = Readonly<z.output<typeof manifestSchema>>;

/** Path of the clients' file of a data set, whether or not it is there. */
export function installedPath(folder: string, entry: CatalogueEntry): string {
  return join(folder, entry.file);
}

/** The record of an installed data set; undefined if it is not installed. Throws IO_FAILED, DATASET_INVALID for a damaged record. */
export async function readManifest(folder: string, entry: CatalogueEntry): Promise<DatasetManifest | undefined> {
  if (!existsSync(installedPath(folder, entry))) return undefined;
  return readJson(join(folder, folderOf(entry), MANIFEST_NAME), manifestSchema);
}

/** Puts a folder with the data set's files in its place, with its record; an older one is replaced. Throws IO_FAILED. */
export async function installFolder(folder: string, entry: CatalogueEntry, prepared: string, manifest: DatasetManifest): Promise<void> {
  await writeFileAtomic(join(prepared, MANIFEST_NAME), `${JSON.stringify(manifest, null, 2)}\n`);
  await replaceFolder(join(folder, folderOf(entry)), prepared);
}

/** Puts a prepared folder in a place where an older one may be, which is gone afterwards. Throws IO_FAILED. */
export async function replaceFolder(target: string, prepared: string): Promise<void> {
  const old = `${target}.old-${randomBytes(4).toString("hex")}`;
  try {
    await makeFolder(dirname(target));
    if (existsSync(target)) await rename(target, old);
    await rename(prepared, target);
    await rm(old, { recursive: true, force: true });
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot put ${target} in its place`, { cause: error });
  }
}

/** A new empty folder inside the store, for preparing a data set. Throws IO_FAILED. */
export async function makePreparationFolder(folder: string, name: string): Promise<string> {
  const path = join(folder, `.${name}-${randomBytes(6).toString("hex")}.partial`);
  await makeFolder(path);
  return path;
}

/** When these terms of the data set were accepted; undefined if never. */
export async function licenceAcceptedAt(folder: string, entry: CatalogueEntry): Promise<string | undefined> {
  const accepted = (await readJson(join(folder, LICENCES_NAME), licencesSchema))?.[entry.name];
  return accepted?.licence === licenceOf(entry).name ? accepted.acceptedAt : undefined;
}

/** Notes that the terms were accepted now. Throws IO_FAILED. */
export async function acceptLicence(folder: string, entry: CatalogueEntry): Promise<void> {
  await makeFolder(folder);
  const path = join(folder, LICENCES_NAME);
  const known = await readJson(path, licencesSchema);
  const next = { ...known, [entry.name]: { licence: licenceOf(entry).name, acceptedAt: new Date().toISOString() } };
  await writeFileAtomic(path, `${JSON.stringify(next, null, 2)}\n`);
}

async function readJson<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const bytes = await readFileWithin(path, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return schema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    throw problemError("DATASET_INVALID", { subject: path, expected: "a record that this program wrote", received: "something else", remedy: "Remove the file and get the data set again" }, error);
  }
}
