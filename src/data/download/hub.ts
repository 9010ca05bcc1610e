/**
 * Files of data sets on the Hugging Face hub, kept in the hub's own cache layout, so that its other programs and this one share what
 * was downloaded: `datasets--org--name/blobs/<etag>`, `refs/<revision>` (the commit), `snapshots/<commit>/<file>` (links to blobs).
 */
import { existsSync } from "node:fs";
import { copyFile, readFile, symlink } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { z } from "zod";
import { FedllmError, problemError } from "../../errors.js";
import { makeFolder, writeFileAtomic } from "../../util/atomic-file.js";
import { downloadFile } from "./download.js";
import type { DownloadOptions } from "./download.js";
import { discard, requestFile } from "./http.js";
import type { Network, Token } from "./http.js";

/** How the hub is reached, and where its files are kept. */
export interface Hub {
  /** Without a slash at the end. */
  readonly endpoint: string;
  /** Folder of the cache, usually ~/.cache/huggingface/hub. */
  readonly cacheDir: string;
  readonly token?: string;
  readonly network: Network;
  readonly pauseMs?: number;
  readonly maxAttempts?: number;
  readonly onProgress?: DownloadOptions["onProgress"];
}

/** One state of a data set. */
export interface HubSnapshot {
  readonly repo: string;
  readonly commit: string;
  /** Paths of all its files. */
  readonly files: readonly string[];
}

export interface HubFile {
  /** In the snapshot's folder. */
  readonly path: string;
  /** Whether it was there already. */
  readonly wasCached: boolean;
}

const MAX_LISTING_BYTES = 64 * 2 ** 20;
const COMMIT = /^[0-9a-f]{40}$/;
const listingSchema = z.object({ sha: z.string().regex(COMMIT), siblings: z.array(z.object({ rfilename: z.string() })) });

/** Asks what a revision holds, or offline the cache. Throws DOWNLOAD_FAILED. */
export async function openSnapshot(hub: Hub, repo: string, revision = "main"): Promise<HubSnapshot> {
  checkRepo(repo);
  const folder = repoFolder(hub, repo);
  const reference = join(folder, "refs", revision);
  const listing = join(folder, "snapshots.fedllm.json");
  if (hub.network.isOffline) return cachedSnapshot(repo, reference, listing);
  const url = `${hub.endpoint}/api/datasets/${repo}/revision/${encodeURIComponent(revision)}`;
  const temporary = `${listing}.download`;
  await downloadFile({ ...downloadOptionsOf(hub), url, target: temporary });
  const parsed = await parseListing(temporary, url);
  const { sha, siblings } = parsed;
  await makeFolder(dirname(reference));
  await writeFileAtomic(reference, sha);
  await writeFileAtomic(listing, JSON.stringify(parsed));
  return { repo, commit: sha, files: siblings.map(({ rfilename }) => rfilename) };
}

/** A file of a snapshot, downloaded if it is not there. Throws DOWNLOAD_FAILED, IO_FAILED. */
export async function fetchHubFile(hub: Hub, { repo, commit }: HubSnapshot, file: string): Promise<HubFile> {
  checkFileName(file);
  const folder = repoFolder(hub, repo);
  const path = join(folder, "snapshots", commit, ...file.split("/"));
  if (existsSync(path)) return { path, wasCached: true };
  const url = `${hub.endpoint}/datasets/${repo}/resolve/${commit}/${file.split("/").map(encodeURIComponent).join("/")}`;
  const { name, sha256, numBytes } = await askForBlob(hub, url);
  const blob = join(folder, "blobs", name);
  if (!existsSync(blob)) {
    await downloadFile({ ...downloadOptionsOf(hub), url, target: blob, ...(sha256 === undefined ? {} : { sha256 }), ...(numBytes === undefined ? {} : { numBytes }) });
  }
  await link(blob, path);
  return { path, wasCached: false };
}

/** The name, and for large files the hash and size, that the hub has for a file: said in the headers before it redirects to the file itself. */
async function askForBlob(hub: Hub, url: string): Promise<{ name: string; sha256?: string; numBytes?: number }> {
  const options = downloadOptionsOf(hub);
  const response = await requestFile({ ...options, url, method: "HEAD", followRedirects: false, headers: { "accept-encoding": "identity" } }).catch((error: unknown) => {
    if (error instanceof FedllmError) throw error;
    throw new FedllmError("DOWNLOAD_FAILED", `${url}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  });
  await discard(response);
  const { statusCode, headers } = response;
  if (statusCode >= 400) {
    const remedy = statusCode === 401 || statusCode === 403 ? "Accept the terms on the data set's page, and set HF_TOKEN to a token of that account" : "Check the name of the data set, or try again later";
    throw problemError("DOWNLOAD_FAILED", { subject: url, expected: "a file of the hub", received: `the answer ${String(statusCode)}`, remedy });
  }
  const name = String(headers["x-linked-etag"] ?? headers["etag"] ?? "").replace(/^W\//, "").replaceAll('"', "");
  if (!/^[\w-][\w.-]{0,127}$/.test(name)) throw problemError("DOWNLOAD_FAILED", { subject: url, expected: "an ETag, which names the file in the cache", received: JSON.stringify(name) });
  const size = headers["x-linked-size"];
  return {
    name,
    ...(/^[0-9a-f]{64}$/.test(name) ? { sha256: name } : {}),
    ...(typeof size === "string" && /^\d+$/.test(size) ? { numBytes: Number(size) } : {}),
  };
}

function downloadOptionsOf({ endpoint, token, network, pauseMs, maxAttempts, onProgress }: Hub) {
  const secret: Token | undefined = token === undefined ? undefined : { origin: new URL(endpoint).origin, value: token };
  return {
    network,
    ...(secret === undefined ? {} : { token: secret }),
    ...(pauseMs === undefined ? {} : { pauseMs }),
    ...(maxAttempts === undefined ? {} : { maxAttempts }),
    ...(onProgress === undefined ? {} : { onProgress }),
  };
}

async function cachedSnapshot(repo: string, reference: string, listing: string): Promise<HubSnapshot> {
  try {
    const commit = (await readFile(reference, "utf8")).trim();
    const { sha, siblings } = listingSchema.parse(JSON.parse(await readFile(listing, "utf8")));
    if (commit !== sha) throw new Error("the cache has another commit");
    return { repo, commit, files: siblings.map(({ rfilename }) => rfilename) };
  } catch (error) {
    const remedy = "Fetch it once with the network, or give the files with --source";
    throw problemError("DOWNLOAD_FAILED", { subject: repo, expected: "a data set that was fetched before", received: "offline mode and none in the cache", remedy }, error);
  }
}

async function parseListing(path: string, url: string): Promise<z.output<typeof listingSchema>> {
  try {
    const bytes = await readFile(path);
    if (bytes.length > MAX_LISTING_BYTES) throw new Error("it is too long");
    return listingSchema.parse(JSON.parse(bytes.toString("utf8")));
  } catch (error) {
    throw problemError("DOWNLOAD_FAILED", { subject: url, expected: "the hub's list of files", received: "something else" }, error);
  }
}

/** A link where the system allows one, else a copy. */
async function link(blob: string, path: string): Promise<void> {
  await makeFolder(dirname(path));
  try {
    await symlink(relative(dirname(path), blob), path);
  } catch {
    await copyFile(blob, path);
  }
}

function repoFolder({ cacheDir }: Hub, repo: string): string {
  return join(cacheDir, `datasets--${repo.replace("/", "--")}`);
}

function checkRepo(repo: string): void {
  if (/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(repo)) return;
  throw problemError("CONFIG_INVALID", { subject: "data set of the hub", expected: "organization/name", received: JSON.stringify(repo) });
}

/** Names come from the network and become paths. */
function checkFileName(file: string): void {
  const parts = file.split("/");
  if (parts.every((part) => part !== "" && part !== "." && part !== ".." && !/[\\:\0]/.test(part))) return;
  throw problemError("DOWNLOAD_FAILED", { subject: "file of the hub", expected: "a path inside the data set", received: JSON.stringify(file) });
}
