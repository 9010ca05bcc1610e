/** Downloads the published archive and installs a data set out of it. The archive is kept, since it holds all of them. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { problemError } from "../../errors.js";
import type { CatalogueEntry } from "../catalogue.js";
import { downloadFile } from "../download/download.js";
import type { DownloadOptions } from "../download/download.js";
import { withoutQuery } from "../download/http.js";
import { installFrom } from "./install.js";
import { ARCHIVE_URL } from "./published.js";
import type { DatasetManifest } from "./store.js";

/** What a downloaded file is by its first byte: a zip archive begins with PK, the file of all clients with a bracket. */
const ENDINGS: Readonly<Record<string, string>> = { P: ".zip", "{": ".json" };

/** Installs from the archive at its address, or from an archive or file of all clients at another. Throws DOWNLOAD_FAILED, DATASET_INVALID, IO_FAILED. */
export async function installFromArchive(
  folder: string,
  entry: CatalogueEntry,
  { url = ARCHIVE_URL, ...options }: Pick<DownloadOptions, "network" | "onProgress" | "pauseMs" | "maxAttempts"> & { readonly url?: string },
): Promise<DatasetManifest> {
  const target = join(folder, "downloads", createHash("sha256").update(url).digest("hex").slice(0, 16));
  const known = Object.values(ENDINGS).map((ending) => target + ending).find((path) => existsSync(path));
  return installFrom(folder, entry, known ?? (await fetchFile(target, { ...options, url })), url);
}

async function fetchFile(target: string, options: Omit<DownloadOptions, "target">): Promise<string> {
  await downloadFile({ ...options, target });
  const handle = await open(target, "r");
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, 0).finally(() => handle.close());
  const ending = ENDINGS[buffer.toString("latin1")];
  if (ending !== undefined) {
    await rename(target, target + ending);
    return target + ending;
  }
  // File hosts answer with a page where a person is asked something first.
  await rm(target, { force: true });
  throw problemError("DOWNLOAD_FAILED", {
    subject: withoutQuery(options.url),
    expected: "a zip archive, or the file of all clients",
    received: "another file, perhaps a page for people",
    remedy: "Fetch the archive with a browser and name it with --from, or make the data again with --rebuild",
  });
}
