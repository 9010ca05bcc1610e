/**
 * Files that are there completely or not at all, also after a kill or a power loss: write a temporary file in the same
 * folder, fsync it, rename it over the target, fsync the folder. Readers here are bounded by a named limit.
 * What the bytes mean, and checking them by a hash, is left to the caller.
 */
import { randomBytes } from "node:crypto";
import { mkdir, open, readdir, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { FedllmError, problemError } from "../errors.js";

const TEMPORARY_SUFFIX = ".partial";

/** Replaces or creates `path`; parts are written in order. Throws IO_FAILED and leaves an older file as it was. */
export async function writeFileAtomic(path: string, content: string | Iterable<Uint8Array>): Promise<void> {
  const folder = dirname(path);
  const temporary = join(
    folder,
    `.${basename(path)}.${String(process.pid)}-${randomBytes(6).toString("hex")}${TEMPORARY_SUFFIX}`,
  );
  try {
    await writeAndSync(temporary, content);
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (error) {
    // The first failure is the one to report; a temporary file that cannot be removed is harmless.
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new FedllmError("IO_FAILED", `cannot write ${path}: ${messageOf(error)}`, { cause: error });
  }
}

async function writeAndSync(path: string, content: string | Iterable<Uint8Array>): Promise<void> {
  const handle = await open(path, "wx", 0o644);
  try {
    const parts = typeof content === "string" ? [Buffer.from(content, "utf8")] : content;
    // FileHandle.writeFile continues after short writes, and from where the last call stopped.
    for (const part of parts) await handle.writeFile(part);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes renames and deletions inside a folder durable. Windows cannot open folders, and needs no such call. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return;
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a folder that is not there yet, durably. Throws IO_FAILED. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    if ((await mkdir(folder, { recursive: true })) !== undefined) await syncFolder(dirname(folder));
  } catch (error) {
    throw new FedllmError("IO_FAILED", `cannot make the folder ${folder}`, { cause: error });
  }
}

/** Reads a whole file of at most `maxBytes`; absent file: undefined. Throws IO_FAILED for a longer or unreadable one. */
export async function readFileWithin(path: string, maxBytes: number): Promise<Buffer | undefined> {
  try {
    const handle = await open(path, "r");
    try {
      const { size } = await handle.stat();
      if (size > maxBytes) {
        throw problemError("IO_FAILED", {
          subject: path,
          expected: `at most ${String(maxBytes)} bytes`,
          received: `${String(size)} bytes`,
        });
      }
      return await handle.readFile();
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    if (hasErrorCode(error, "ENOENT")) return undefined;
    throw new FedllmError("IO_FAILED", `cannot read ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/**
 * Removes what killed writers left in a folder. Only for a folder whose lock the caller holds: a living writer's
 * temporary file would be removed too.
 */
export async function removeTemporaryFiles(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name.startsWith(".") && name.endsWith(TEMPORARY_SUFFIX)) await rm(join(folder, name), { force: true });
  }
}

/** True when a system error has this code, for example ENOENT. */
export function hasErrorCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
