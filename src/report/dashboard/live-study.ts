/** The study of runs that may be at work: made anew when one of their files has changed, and a short name of the state it shows. */
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { join } from "node:path";
import { buildStudy } from "../study/build.js";
import type { StudyOptions } from "../study/build.js";
import { closeRuns, findRunFolders, openRuns } from "../study/source.js";
import type { Study } from "../study/study.js";
import { isFedllmError } from "../../errors.js";

/** What changes when a run goes on, is resumed or ends. */
const WATCHED = ["config.resolved.yaml", "metrics.sqlite", "metrics.sqlite-wal", "run.lock.json", "run.json", "evaluation.sqlite", "evaluation.sqlite-wal", "privacy.sqlite"];

export class LiveStudy {
  readonly #names: readonly string[];
  readonly #options: StudyOptions;
  #made: { readonly version: string; readonly study: Study } | undefined;

  /** Runs or folders of runs, which may get more of them while this looks. */
  constructor(names: readonly string[], options: StudyOptions = {}) {
    this.#names = names;
    this.#options = options;
  }

  /** Changes whenever the study may have changed; reads no database. */
  async version(): Promise<string> {
    const folders = await this.#folders();
    const parts = folders.flatMap((folder) => [folder, ...WATCHED.map((name) => stateOf(join(folder, name)))]);
    return createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 16);
  }

  /** The study and the version that it belongs to. Throws as buildStudy. */
  async read(): Promise<{ readonly version: string; readonly study: Study }> {
    const version = await this.version();
    if (this.#made?.version === version) return this.#made;
    const opened = await this.#open();
    try {
      const study = buildStudy(opened.runs, this.#options);
      this.#made = { version, study: { ...study, notes: [...study.notes, ...opened.warnings] } };
    } finally {
      closeRuns(opened.runs);
    }
    return this.#made;
  }

  /** One bad folder must not hide the others. */
  async #open() {
    const runs: Awaited<ReturnType<typeof openRuns>> = [];
    const warnings: string[] = [];
    for (const folder of await this.#folders()) {
      try {
        runs.push(...(await openRuns([folder])));
      } catch (error) {
        if (!isFedllmError(error)) throw error;
        warnings.push(`left out: ${error.message}`);
      }
    }
    return { runs, warnings };
  }

  async #folders(): Promise<string[]> {
    const found = await Promise.all(this.#names.map(async (name) => findRunFolders(name).catch(() => [])));
    return [...new Set(found.flat())];
  }
}

function stateOf(path: string): string {
  const state = statSync(path, { throwIfNoEntry: false });
  return state === undefined ? "" : `${String(state.mtimeMs)} ${String(state.size)}`;
}
