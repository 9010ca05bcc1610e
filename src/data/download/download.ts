/**
 * Downloads one file so that it is there whole or not at all. What has arrived stays in `<file>.partial` and is gone on from, when the
 * server says that the file is still the same; the whole file is hashed and compared with what is known about it.
 */
import { createHash } from "node:crypto";
import type { Hash } from "node:crypto";
import { createReadStream } from "node:fs";
import { open, rename, rm, stat } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { FedllmError, problemError } from "../../errors.js";
import { makeFolder, readFileWithin, syncFolder, writeFileAtomic } from "../../util/atomic-file.js";
import { discard, requestFile, withoutQuery } from "./http.js";
import type { FileRequest, FileResponse } from "./http.js";

export interface DownloadOptions extends Pick<FileRequest, "url" | "network" | "token"> {
  /** Where the file goes. */
  readonly target: string;
  /** Of the whole file, if they are known. */
  readonly sha256?: string;
  readonly numBytes?: number;
  readonly onProgress?: (numBytes: number, total?: number) => void;
  /** Attempts in a row that bring no new byte before it gives up; default 5. */
  readonly maxAttempts?: number;
  /** First pause after a failure in milliseconds, doubled each time; a server's Retry-After goes before it. Default 1000. */
  readonly pauseMs?: number;
}

export interface Downloaded {
  readonly path: string;
  readonly numBytes: number;
  /** Of the whole file, in hexadecimal digits. */
  readonly sha256: string;
}

const DEFAULT_ATTEMPTS = 5;
const DEFAULT_PAUSE_MS = 1000;
const MAX_PAUSE_MS = 120_000;
const MAX_NOTE_BYTES = 65_536;

/** What is known about a file that is only there in part. */
interface PartialNote {
  readonly url: string;
  /** Names the version of the file; without one a download cannot be gone on with. */
  readonly validator?: string;
}

/** Where a download stands. */
interface Progress {
  numBytes: number;
  /** Of the whole file, once the server has said it. */
  total?: number;
  hash: Hash;
}

/** A failure after which another attempt may help. */
class RetryableFailure extends Error {
  readonly pauseMs: number | undefined;

  constructor(message: string, pauseMs?: number) {
    super(message);
    this.pauseMs = pauseMs;
  }
}

/** Downloads. Throws DOWNLOAD_FAILED with what the server said, IO_FAILED for the disk. */
export async function downloadFile(options: DownloadOptions): Promise<Downloaded> {
  const { url, target, maxAttempts = DEFAULT_ATTEMPTS, pauseMs = DEFAULT_PAUSE_MS } = options;
  await makeFolder(dirname(target));
  const partial = `${target}.partial`;
  const handle = await openPartial(partial);
  try {
    const progress = await findProgress(handle, partial);
    let mostBytes = progress.numBytes;
    for (let failures = 0; ; ) {
      try {
        await attempt(options, handle, progress);
        break;
      } catch (error) {
        const failure = asRetryable(error);
        // Only what was never reached before counts as progress, or a server that lies could keep this going for ever.
        failures = progress.numBytes > mostBytes ? 1 : failures + 1;
        mostBytes = Math.max(mostBytes, progress.numBytes);
        if (failures >= maxAttempts) throw new FedllmError("DOWNLOAD_FAILED", `${withoutQuery(url)}: given up after ${String(failures)} attempts: ${failure.message}`, { cause: error });
        await sleep(Math.min(failure.pauseMs ?? pauseMs * 2 ** (failures - 1), MAX_PAUSE_MS));
      }
    }
    return await finish(options, handle, progress);
  } finally {
    await handle.close();
  }
}

async function attempt(options: DownloadOptions, handle: FileHandle, progress: Progress): Promise<void> {
  const { url, network, token, target } = options;
  const note = await readNote(`${target}.partial.json`);
  const canResume = progress.numBytes > 0 && note?.url === url && note.validator !== undefined;
  if (!canResume) await restart(handle, progress);
  const headers = canResume ? { range: `bytes=${String(progress.numBytes)}-`, "if-range": note.validator ?? "" } : {};
  const response = await requestFile({ url, network, ...(token === undefined ? {} : { token }), headers: { "accept-encoding": "identity", ...headers } });
  // The connection may break before anybody reads, which would end the program if nobody listened; reading says it again.
  response.body.on("error", () => undefined);
  if (response.statusCode === 416 && canResume) {
    await discard(response);
    await restart(handle, progress);
    throw new RetryableFailure("the server has not the part that was asked for", 0);
  }
  if (response.statusCode !== 200 && response.statusCode !== 206) throw await failureOf(response, url);
  try {
    if (response.statusCode === 200) await restart(handle, progress);
    else checkRange(response, progress, url);
    noteTotal(response, progress, options);
    await writeFileAtomic(`${target}.partial.json`, JSON.stringify({ url, ...validatorOf(response) } satisfies PartialNote));
  } catch (error) {
    response.body.destroy();
    throw error;
  }
  await receive(options, response, handle, progress);
}

async function receive({ onProgress }: DownloadOptions, response: FileResponse, handle: FileHandle, progress: Progress): Promise<void> {
  for await (const piece of response.body as AsyncIterable<Buffer>) {
    await writeAll(handle, piece, progress.numBytes);
    progress.hash.update(piece);
    progress.numBytes += piece.length;
    onProgress?.(progress.numBytes, progress.total);
    if (progress.total !== undefined && progress.numBytes > progress.total) throw new RetryableFailure(`the server sent more than the ${String(progress.total)} bytes it had named`);
  }
  if (progress.total !== undefined && progress.numBytes < progress.total) {
    throw new RetryableFailure(`the connection ended after ${String(progress.numBytes)} of ${String(progress.total)} bytes`);
  }
}

/** Checks the whole file and gives it its name. */
async function finish({ url, target, sha256, numBytes }: DownloadOptions, handle: FileHandle, progress: Progress): Promise<Downloaded> {
  const received = progress.hash.digest("hex");
  const isRight = (sha256 === undefined || received === sha256.toLowerCase()) && (numBytes === undefined || progress.numBytes === numBytes);
  if (!isRight) {
    await rm(`${target}.partial`, { force: true });
    await rm(`${target}.partial.json`, { force: true });
    throw problemError("DOWNLOAD_FAILED", {
      subject: withoutQuery(url),
      expected: [...(numBytes === undefined ? [] : [`${String(numBytes)} bytes`]), ...(sha256 === undefined ? [] : [`SHA-256 ${sha256}`])].join(" and "),
      received: `${String(progress.numBytes)} bytes, SHA-256 ${received}`,
      remedy: "The file was removed; what the server sent is not what it said",
    });
  }
  try {
    await handle.sync();
    await rename(`${target}.partial`, target);
    await rm(`${target}.partial.json`, { force: true });
    await syncFolder(dirname(target));
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot write ${target}`, { cause: error });
  }
  return { path: target, numBytes: progress.numBytes, sha256: received };
}

/** What the status of an answer without the file means. */
async function failureOf(response: FileResponse, url: string): Promise<Error> {
  await discard(response);
  const { statusCode, headers } = response;
  if (statusCode === 408 || statusCode === 429 || statusCode >= 500) {
    return new RetryableFailure(`the server answered ${String(statusCode)}`, retryAfterMs(headers["retry-after"]));
  }
  const remedies: Readonly<Record<number, string>> = {
    401: "Set HF_TOKEN to a token of an account that may read it",
    403: "Accept the terms on the data set's page with the account of HF_TOKEN",
    404: "Check the name, or give the files with --from",
  };
  const remedy = remedies[statusCode];
  return problemError("DOWNLOAD_FAILED", { subject: withoutQuery(url), expected: "a file", received: `the answer ${String(statusCode)}`, ...(remedy === undefined ? {} : { remedy }) });
}

/** Seconds or a date; undefined if it is neither. */
function retryAfterMs(value: string | string[] | undefined): number | undefined {
  if (typeof value !== "string") return undefined;
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const date = Date.parse(value);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

function checkRange({ headers }: FileResponse, progress: Progress, url: string): void {
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(String(headers["content-range"]));
  if (range === null || Number(range[1]) !== progress.numBytes) {
    throw problemError("DOWNLOAD_FAILED", {
      subject: withoutQuery(url),
      expected: `the part from byte ${String(progress.numBytes)}`,
      received: `content-range ${String(headers["content-range"])}`,
      remedy: "Remove the .partial file to begin anew",
    });
  }
  if (range[2] !== "*") progress.total = Number(range[2]);
}

function noteTotal({ statusCode, headers }: FileResponse, progress: Progress, { numBytes, url }: DownloadOptions): void {
  const length = headers["content-length"];
  if (statusCode === 200) {
    if (typeof length === "string") progress.total = Number(length);
    else delete progress.total;
  }
  if (numBytes === undefined || progress.total === undefined || progress.total === numBytes) return;
  throw problemError("DOWNLOAD_FAILED", { subject: withoutQuery(url), expected: `${String(numBytes)} bytes`, received: `a file of ${String(progress.total)}` });
}

/** Only strong validators say that bytes are the same. */
function validatorOf({ headers }: FileResponse): { validator?: string } {
  const { etag } = headers;
  return typeof etag === "string" && !etag.startsWith("W/") ? { validator: etag } : {};
}

async function readNote(path: string): Promise<PartialNote | undefined> {
  const bytes = await readFileWithin(path, MAX_NOTE_BYTES);
  if (bytes === undefined) return undefined;
  try {
    return JSON.parse(bytes.toString("utf8")) as PartialNote;
  } catch {
    return undefined;
  }
}

async function openPartial(path: string): Promise<FileHandle> {
  try {
    return await open(path, (await exists(path)) ? "r+" : "wx+");
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot write ${path}`, { cause: error });
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function findProgress(handle: FileHandle, path: string): Promise<Progress> {
  const hash = createHash("sha256");
  const { size } = await handle.stat();
  if (size > 0) for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) hash.update(piece);
  return { numBytes: size, hash };
}

async function restart(handle: FileHandle, progress: Progress): Promise<void> {
  await handle.truncate(0);
  progress.numBytes = 0;
  progress.hash = createHash("sha256");
  delete progress.total;
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  try {
    for (let done = 0; done < bytes.length; ) done += (await handle.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot write the downloaded file: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
}

/** Errors of ours are final; what the network says may be different the next time. */
function asRetryable(error: unknown): RetryableFailure {
  if (error instanceof FedllmError) throw error;
  return error instanceof RetryableFailure ? error : new RetryableFailure(error instanceof Error ? error.message : String(error));
}
