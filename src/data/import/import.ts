/**
 * Brings files of any known form into this project's federated form, in one pass over the files and with little memory: samples
 * are spooled to disk by user and written when the counts of all users are known.
 */
import { dirname } from "node:path";
import { problemError } from "../../errors.js";
import { makeFolder } from "../../util/atomic-file.js";
import { unfilteredPath } from "../unfiltered.js";
import { sampleRecord } from "./sample-record.js";
import { newTally, streamSamples } from "./sample-stream.js";
import type { SampleStreamOptions, SampleTally } from "./sample-stream.js";
import { UserSpool } from "./user-spool.js";
import type { SpooledUser } from "./user-spool.js";
import { checkOutputPath, writeFederated } from "./write-federated.js";
import type { WrittenDataset } from "./write-federated.js";

export interface ImportOptions extends SampleStreamOptions {
  /** `.json` ({user: [samples]}) or `.jsonl` (a user field in each record), also with `.gz`. */
  readonly out: string;
  /** Users with fewer samples are left out of `out`; all of them are then in a second file, `<name>.unfiltered.<ending>`. Default 1. */
  readonly minSamples?: number;
  /** Only the first so many of the users with enough samples; absent: all. */
  readonly maxClients?: number;
  /** Replaces files that are there. */
  readonly overwrite?: boolean;
}

export interface ImportResult extends Readonly<SampleTally> {
  /** The file that was asked for. */
  readonly written: WrittenDataset;
  /** All users, where some were left out of it. */
  readonly unfiltered?: WrittenDataset;
}

/** Imports. Throws what `streamSamples` and `checkOutputPath` throw; no file is left behind then. */
export async function importData(options: ImportOptions): Promise<ImportResult> {
  const { out, minSamples = 1, maxClients, overwrite = false } = options;
  checkCount("--min-samples", minSamples);
  if (maxClients !== undefined) checkCount("--max-clients", maxClients);
  checkOutputPath(out, overwrite);
  const isFiltered = minSamples > 1 || maxClients !== undefined;
  if (isFiltered) checkOutputPath(unfilteredPath(out), overwrite);
  await makeFolder(dirname(out));
  const spool = new UserSpool(dirname(out));
  try {
    const tally = newTally();
    for await (const batch of streamSamples(options, tally)) {
      for (const { user, sample, extra } of batch) spool.add(user, JSON.stringify(sampleRecord(sample, extra)));
    }
    const chosen = chooseUsers(spool.users, minSamples, maxClients);
    const unfiltered = isFiltered ? await writeFederated(unfilteredPath(out), spool, () => true) : undefined;
    const written = await writeFederated(out, spool, ({ id }) => chosen.has(id));
    return { ...tally, written, ...(unfiltered === undefined ? {} : { unfiltered }) };
  } finally {
    spool.dispose();
  }
}

function checkCount(subject: string, count: number): void {
  if (Number.isSafeInteger(count) && count >= 1) return;
  throw problemError("CONFIG_INVALID", { subject, expected: "an integer of at least 1", received: String(count) });
}

function chooseUsers(users: readonly SpooledUser[], minSamples: number, maxClients: number | undefined): ReadonlySet<string> {
  const chosen = users.filter(({ numLines }) => numLines >= minSamples).slice(0, maxClients);
  if (chosen.length > 0) return new Set(chosen.map(({ id }) => id));
  const largest = users.reduce((most, { numLines }) => Math.max(most, numLines), 0);
  throw problemError("CONFIG_INVALID", {
    subject: "--min-samples",
    expected: "a number that at least one user reaches",
    received: `${String(minSamples)}, but the largest of ${String(users.length)} users has ${String(largest)} samples`,
  });
}
