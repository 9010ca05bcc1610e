/** The run's side of artifacts: puts what jobs need into the store, gets what came of them, and removes what nobody needs any more. */
import { checkBytes, hashBytes, type ArtifactStore } from "./artifacts.js";
import { packValue, unpackValue } from "./packed-values.js";

export class JobArtifacts {
  readonly #store: ArtifactStore;
  readonly #jobsKept: number;
  /** By hash: jobs that need it now, and the number of the last job that did. */
  readonly #uses = new Map<string, { numUsers: number; lastJob: number }>();
  #numJobs = 0;

  /** jobsKept: so many jobs later an array that nobody used again is removed; those of a round share the weights they begin with. */
  constructor(store: ArtifactStore, jobsKept: number) {
    this.#store = store;
    this.#jobsKept = jobsKept;
  }

  /** Puts a packed value and its arrays; what is named stays until `release`. */
  async put(value: unknown): Promise<{ readonly sha256: string; readonly hashes: readonly string[] }> {
    const { bytes, arrays } = packValue(value);
    const sha256 = hashBytes(bytes);
    const hashes = [...arrays.keys(), sha256];
    this.#numJobs += 1;
    for (const hash of hashes) {
      this.#uses.set(hash, { numUsers: (this.#uses.get(hash)?.numUsers ?? 0) + 1, lastJob: this.#numJobs });
    }
    for (const [hash, array] of arrays) await this.#store.put(hash, array);
    await this.#store.put(sha256, bytes);
    return { sha256, hashes };
  }

  /** Gets a packed value, removing its artifacts from the store. Rejects with ARTIFACT_INVALID. */
  async take(sha256: string): Promise<unknown> {
    const taken = [sha256];
    const bytes = checkBytes(sha256, await this.#store.get(sha256), "the answer");
    const value = await unpackValue(bytes, async (hash) => {
      taken.push(hash);
      return this.#store.get(hash);
    });
    await this.#store.remove(taken.filter((hash) => !this.#uses.has(hash)));
    return value;
  }

  /** The job that needed these has ended. */
  async release(hashes: readonly string[]): Promise<void> {
    for (const hash of hashes) {
      const use = this.#uses.get(hash);
      if (use !== undefined) use.numUsers -= 1;
    }
    const removed = [...this.#uses].flatMap(([hash, { numUsers, lastJob }]) => (numUsers === 0 && this.#numJobs - lastJob >= this.#jobsKept ? [hash] : []));
    for (const hash of removed) this.#uses.delete(hash);
    await this.#store.remove(removed);
  }

  /** Removes everything that was put. */
  async clear(): Promise<void> {
    const hashes = [...this.#uses.keys()];
    this.#uses.clear();
    await this.#store.remove(hashes);
  }
}
