/**
 * The folder of installed question sets, `questions/<name>` in the data folder: the files as published, and `questions.json`, which says
 * where they came from and what they hash to. A set is there whole or not at all.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { problemError } from "../../errors.js";
import { replaceFolder } from "../../data/catalogue/store.js";
import { readFileWithin, writeFileAtomic } from "../../util/atomic-file.js";
import type { QuestionSet } from "./catalogue.js";

const MANIFEST_NAME = "questions.json";
const MAX_MANIFEST_BYTES = 2 ** 20;

const manifestSchema = z.object({
  name: z.string(),
  /** Addresses, or the path it was installed from. */
  source: z.string(),
  installedAt: z.string(),
  licence: z.string(),
  numItems: z.int(),
  /** Files as they were fetched, before an archive was unpacked. */
  files: z.array(z.object({ name: z.string(), sha256: z.string(), numBytes: z.int() })),
  /** Differences from what is published. */
  warnings: z.array(z.string()),
});

/** What is known about an installed question set. */
export type QuestionManifest = Readonly<z.output<typeof manifestSchema>>;

/** Folder of a set, whether or not it is there. */
export function questionFolder(dataDir: string, { name }: QuestionSet): string {
  return join(dataDir, "questions", name);
}

/** The record of an installed set; undefined if it is not installed. Throws IO_FAILED, DATASET_INVALID for a damaged record. */
export async function readQuestionManifest(dataDir: string, set: QuestionSet): Promise<QuestionManifest | undefined> {
  const path = join(questionFolder(dataDir, set), MANIFEST_NAME);
  const bytes = await readFileWithin(path, MAX_MANIFEST_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return manifestSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    throw problemError("DATASET_INVALID", { subject: path, expected: "a record that this program wrote", received: "something else", remedy: `Get the set again: questions get ${set.name}` }, error);
  }
}

/** Puts a prepared folder in the set's place, with its record; an older one is replaced. Throws IO_FAILED. */
export async function installQuestionFolder(dataDir: string, set: QuestionSet, prepared: string, manifest: QuestionManifest): Promise<void> {
  await writeFileAtomic(join(prepared, MANIFEST_NAME), `${JSON.stringify(manifest, null, 2)}\n`);
  await replaceFolder(questionFolder(dataDir, set), prepared);
}

/** The folder of an installed set. Throws CONFIG_INVALID, with the way to get it, for a set that is not there. */
export function requireInstalled(dataDir: string, set: QuestionSet): string {
  const folder = questionFolder(dataDir, set);
  if (existsSync(join(folder, MANIFEST_NAME))) return folder;
  throw problemError("CONFIG_INVALID", {
    subject: `questions of ${set.name}`,
    expected: `the set ${set.name} in ${folder}, or a file of your own`,
    received: "neither",
    remedy: `Fetch it: fedllm-native questions get ${set.name}`,
  });
}
