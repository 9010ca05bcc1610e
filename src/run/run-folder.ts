/**
 * What lies where in a run's folder, and the rules for opening, listing and removing one.
 *
 *   config.resolved.yaml   the resolved configuration; written last, so a folder without it holds no run
 *   run.json               seed, versions, machine, hashes (run-record.ts)
 *   metrics.sqlite         all measurements
 *   privacy.sqlite         what was released with differential privacy, where an arm has it
 *   checkpoints/<arm>/     the last states of each arm
 *   adapters/<arm>.gguf    the result; for strategies with an adapter per client adapters/<arm>/<client>.gguf, with one per
 *                          group adapters/<arm>/groups/<group>.gguf; of clients that were fine-tuned after the last round
 *                          adapters/<arm>/finetuned/<client>.gguf; of earlier rounds, where they are kept,
 *                          adapters/<arm>/rounds/<round>.gguf
 *   evaluation.sqlite      answers and scores of metrics, where any were asked for
 *   emulators/<arm>.gguf   what clients get of the model, where a strategy does not give them all of it; an adapter that
 *                          belongs to it is emulators/adapters/<arm>.gguf
 *   summary.md             the final table
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join, resolve } from "node:path";
import { FedllmError, problemError } from "../errors.js";
import { hasErrorCode } from "../util/atomic-file.js";

/** Where `run` puts folders and `runs` looks for them, below the working folder. */
export const RUNS_FOLDER = "runs";

const CONFIG_NAME = "config.resolved.yaml";
/** Files of ours that may lie in a folder whose run never began, because it was killed while the folder was made. */
const BEGINNING_PATTERN = /^(run\.lock(\.json|-journal|-wal|-shm)?|run\.json|\..*\.partial|checkpoints|adapters)$/;

/** Absolute paths of a run's files. */
export interface RunPaths {
  readonly folder: string;
  readonly config: string;
  readonly record: string;
  readonly metrics: string;
  readonly privacy: string;
  readonly summary: string;
  checkpoints(arm: string): string;
  /** One file, or one per client when a client is named. */
  adapter(arm: string, clientFileName?: string): string;
  groupAdapter(arm: string, groupFileName: string): string;
  emulator(arm: string): string;
  emulatorAdapter(arm: string): string;
  fineTunedAdapter(arm: string, clientFileName: string): string;
  /** The common adapter after a round that is not the last. */
  roundAdapter(arm: string, round: number): string;
  /** Answers and scores of metrics. */
  readonly evaluation: string;
}

/** Paths inside a folder, which need not exist. */
export function runPaths(folder: string): RunPaths {
  const root = resolve(folder);
  return {
    folder: root,
    config: join(root, CONFIG_NAME),
    record: join(root, "run.json"),
    metrics: join(root, "metrics.sqlite"),
    privacy: join(root, "privacy.sqlite"),
    summary: join(root, "summary.md"),
    checkpoints: (arm) => join(root, "checkpoints", arm),
    adapter: (arm, clientFileName) =>
      clientFileName === undefined
        ? join(root, "adapters", `${arm}.gguf`)
        : join(root, "adapters", arm, `${clientFileName}.gguf`),
    fineTunedAdapter: (arm, clientFileName) => join(root, "adapters", arm, "finetuned", `${clientFileName}.gguf`),
    roundAdapter: (arm, round) => join(root, "adapters", arm, "rounds", `${String(round)}.gguf`),
    evaluation: join(root, "evaluation.sqlite"),
    emulator: (arm) => join(root, "emulators", `${arm}.gguf`),
    emulatorAdapter: (arm) => join(root, "emulators", "adapters", `${arm}.gguf`),
    groupAdapter: (arm, groupFileName) => join(root, "adapters", arm, "groups", `${groupFileName}.gguf`),
  };
}

/** `runs/<name>-<date>-<time>` in local time, with a number added while a folder of that name exists. */
export function defaultRunFolder(name: string, now: Date, workingFolder = "."): string {
  const two = (value: number) => String(value).padStart(2, "0");
  const date = `${String(now.getFullYear())}${two(now.getMonth() + 1)}${two(now.getDate())}`;
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`;
  const base = join(resolve(workingFolder), RUNS_FOLDER, `${name}-${date}-${time}`);
  for (let attempt = 1; ; attempt++) {
    const folder = attempt === 1 ? base : `${base}-${String(attempt)}`;
    if (!existsSync(folder)) return folder;
  }
}

/** True when a folder holds a run. */
export function hasRun(folder: string): boolean {
  return existsSync(join(folder, CONFIG_NAME));
}

/** Throws RUN_EXISTS unless the folder is absent, empty, or holds no more than a beginning of ours. Changes nothing. */
export async function checkNewFolder(paths: RunPaths): Promise<void> {
  let names: string[];
  try {
    names = await readdir(paths.folder);
  } catch (error) {
    if (hasErrorCode(error, "ENOENT")) return;
    const reason = error instanceof Error ? error.message : String(error);
    throw new FedllmError("IO_FAILED", `cannot use ${paths.folder} as a run folder: ${reason}`, { cause: error });
  }
  const strange = names.filter((name) => !BEGINNING_PATTERN.test(name));
  if (strange.length === 0) return;
  throw problemError("RUN_EXISTS", {
    subject: `run folder ${paths.folder}`,
    expected: "a new or empty folder",
    received: hasRun(paths.folder) ? "a folder with a run" : `a folder with ${strange.slice(0, 3).join(", ")}`,
  });
}

/** The folder of an existing run, given as a path or as a name below ./runs. Throws RUN_NOT_FOUND. */
export function findRun(nameOrFolder: string, workingFolder = "."): RunPaths {
  const candidates = [resolve(workingFolder, nameOrFolder), resolve(workingFolder, RUNS_FOLDER, nameOrFolder)];
  const folder = candidates.find((candidate) => hasRun(candidate));
  if (folder !== undefined) return runPaths(folder);
  throw problemError("RUN_NOT_FOUND", {
    subject: "run",
    expected: `a folder with ${CONFIG_NAME}, or the name of one in ./${RUNS_FOLDER}`,
    received: JSON.stringify(nameOrFolder),
  });
}

/** Folders of all runs directly below a folder, by name; none when there is no such folder. */
export async function listRunFolders(parent: string): Promise<string[]> {
  if (!existsSync(parent)) return [];
  const entries = await readdir(parent, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && hasRun(join(parent, entry.name)))
    .map((entry) => join(resolve(parent), entry.name))
    .sort();
}

/** Removes a run's folder and everything in it. The configuration goes first, so a stopped removal leaves no run. */
export async function removeRun(paths: RunPaths): Promise<void> {
  await rm(paths.config, { force: true });
  await rm(paths.folder, { recursive: true, force: true });
}

/** Longest client part of a file name; file systems take 255 bytes. */
const FILE_NAME_LENGTH_MAX = 120;

/**
 * A file name for each client id. Ids come from data files and can hold anything, so every character but letters,
 * digits, dash and underscore is written as %XX per UTF-8 byte; long or (without regard to case) equal names get a hash.
 */
export function clientFileNames(clientIds: readonly string[]): Map<string, string> {
  const encoded = clientIds.map((id) => [id, encodeFileName(id)] as const);
  const uses = new Map<string, number>();
  for (const [, name] of encoded) uses.set(name.toLowerCase(), (uses.get(name.toLowerCase()) ?? 0) + 1);
  return new Map(
    encoded.map(([id, name]) => {
      const isPlain = name.length <= FILE_NAME_LENGTH_MAX && uses.get(name.toLowerCase()) === 1;
      if (isPlain) return [id, name];
      const hash = createHash("sha256").update(id).digest("hex").slice(0, 16);
      return [id, `${name.slice(0, FILE_NAME_LENGTH_MAX)}-${hash}`];
    }),
  );
}

function encodeFileName(id: string): string {
  const bytes = [...Buffer.from(id, "utf8")];
  return bytes
    .map((byte) => {
      const character = String.fromCharCode(byte);
      return /[A-Za-z0-9_-]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    })
    .join("");
}

/** The client of a file name; of a name with a hash, which has lost a part of the id, the name itself. */
export function clientOfFileName(fileName: string): string {
  try {
    const id = decodeURIComponent(fileName);
    return clientFileNames([id]).get(id) === fileName ? id : fileName;
  } catch {
    return fileName;
  }
}
