/** Downloads the published archive and installs a data set out of it. The archive is kept, since it holds all of them. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { problemError } from "../../errors.js";
import type { CatalogueEntry } from "../catalogue.js";
import { downloadFile } from "../download/download.js";
import type { DownloadOptions } from "../download/download.js";
import { withoutQuery } from "../download/http.js";
import { installFrom } from "./install.js";
import { ARCHIVE_URL } from "./published.js";
import type { DatasetManifest } from "./store.js";

/** Every zip file begins with these bytes. */
const ZIP_MAGIC = "PK";

/** Installs from the archive at its address, or at another one. Throws DOWNLOAD_FAILED, DATASET_INVALID, IO_FAILED. */
export async function installFromArchive(
  folder: string,
  entry: CatalogueEntry,
  { url = ARCHIVE_URL, ...options }: Pick<DownloadOptions, "network" | "onProgress" | "pauseMs" | "maxAttempts"> & { readonly url?: string },
): Promise<DatasetManifest> {
  const archive = join(folder, "downloads", `${createHash("sha256").update(url).digest("hex").slice(0, 16)}.zip`);
  if (!existsSync(archive)) {
    await downloadFile({ ...options, url, target: archive });
    await requireZip(archive, url);
  }
  return installFrom(folder, entry, archive, url);
}

/** File hosts answer with a page where a person is asked something first. */
async function requireZip(path: string, url: string): Promise<void> {
  const handle = await open(path, "r");
  const { buffer } = await handle.read(Buffer.alloc(2), 0, 2, 0).finally(() => handle.close());
  if (buffer.toString("latin1") === ZIP_MAGIC) return;
  await rm(path, { force: true });
  throw problemError("DOWNLOAD_FAILED", {
    subject: withoutQuery(url),
    expected: "a zip archive",
    received: "another file, perhaps a page for people",
    remedy: "Fetch the archive with a browser and name it with --from, or make the data again with --rebuild",
  });
}
