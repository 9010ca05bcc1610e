/** Artifacts as files of one folder, which may be shared by several machines: `<first two digits>/<sha256>`. */
import { randomBytes } from "node:crypto";
import { mkdir, rename, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { FedllmError } from "../errors.js";
import { readFileWithin } from "../util/atomic-file.js";
import { ARTIFACT_BYTES_MAX, checkBytes, checkName, missingArtifact, type ArtifactStore } from "./artifacts.js";

export class FileArtifacts implements ArtifactStore {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Renamed into place, so that no reader sees a part. It is not flushed: what a power loss leaves of it is found by its hash when it is read,
   * removed, and written again by the next who puts it.
   */
  async put(sha256: string, bytes: Uint8Array): Promise<void> {
    const path = this.#pathOf(sha256);
    if ((await sizeOf(path)) === bytes.length) return;
    const temporary = `${path}.${String(process.pid)}-${randomBytes(6).toString("hex")}.partial`;
    try {
      await mkdir(dirname(path), { recursive: true });
      await writeFile(temporary, bytes, { flag: "wx" });
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true }).catch(() => undefined);
      throw new FedllmError("IO_FAILED", `cannot write ${path}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }

  async get(sha256: string): Promise<Uint8Array> {
    const path = this.#pathOf(sha256);
    const bytes = await readFileWithin(path, ARTIFACT_BYTES_MAX);
    if (bytes === undefined) throw missingArtifact(sha256, this.#folder);
    try {
      return checkBytes(sha256, bytes, path);
    } catch (error) {
      await rm(path, { force: true });
      throw error;
    }
  }

  async remove(hashes: readonly string[]): Promise<void> {
    for (const sha256 of hashes) await rm(this.#pathOf(sha256), { force: true });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #pathOf(sha256: string): string {
    return join(this.#folder, checkName(sha256).slice(0, 2), sha256);
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  return stat(path).then(({ size }) => size, () => undefined);
}
