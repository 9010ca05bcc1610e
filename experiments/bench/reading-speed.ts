/**
 * How fast client data is read: the streaming reader and the import, beside JSON.parse of the same file, each in a process of its own so
 * that its peak memory is its own. Usage: node --import tsx experiments/bench/reading-speed.ts [megabytes, default 200] [more files...]
 */
import { spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readFederatedDataset } from "../../src/data/dataset.js";
import { importData } from "../../src/data/import/import.js";

const WAYS: Readonly<Record<string, (file: string, folder: string) => Promise<unknown>>> = {
  "JSON.parse of the whole file": (file) => Promise.resolve(JSON.parse(readFileSync(file, "utf8"))),
  "readFederatedDataset, keeping no sample": (file) => readFederatedDataset(file, { onSample: () => false }),
  "readFederatedDataset, keeping all": (file) => readFederatedDataset(file),
  "data import (reads, checks, writes a new file)": (file, folder) => importData({ files: [file], map: new Map(), keep: [], out: join(folder, "out.json"), overwrite: true }),
};

const [first = "200", ...files] = process.argv.slice(2);
const way = WAYS[first];
if (way === undefined) compare(Number(first), files);
else await measure(way, files);

/** One way on one file; prints seconds and the peak of the process. Small files are read again and again for a second, once before it counts. */
async function measure(read: (file: string, folder: string) => Promise<unknown>, [file = "", folder = ""]: readonly string[]): Promise<void> {
  const isSmall = statSync(file).size < 10e6;
  if (isSmall) await read(file, folder);
  const start = performance.now();
  let numRuns = 0;
  do {
    await read(file, folder);
    numRuns++;
  } while (isSmall && performance.now() - start < 1000);
  const seconds = (performance.now() - start) / 1000 / numRuns;
  console.log(JSON.stringify({ seconds, peakBytes: process.resourceUsage().maxRSS * 1024 }));
}

function compare(megabytes: number, more: readonly string[]): void {
  const folder = mkdtempSync(join(tmpdir(), "fedllm-reading-"));
  try {
    const made = join(folder, "made.json");
    writeClients(made, megabytes * 1e6);
    console.log("| file | way | MB/s | peak MB |\n|---|---|--:|--:|");
    for (const file of [made, ...more]) for (const name of Object.keys(WAYS)) console.log(row(name, file, folder));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function row(name: string, file: string, folder: string): string {
  const label = `${(statSync(file).size / 1e6).toFixed(1)} MB`;
  const child = spawnSync(process.execPath, [...process.execArgv, fileURLToPath(import.meta.url), name, file, folder], { encoding: "utf8" });
  if (child.status !== 0) {
    const reason = /Error: (.*)/.exec(child.stderr)?.[1] ?? child.signal ?? `exit code ${String(child.status)}`;
    return `| ${label} | ${name} | fails: ${reason} | |`;
  }
  const { seconds, peakBytes } = JSON.parse(child.stdout) as { seconds: number; peakBytes: number };
  return `| ${label} | ${name} | ${(statSync(file).size / 1e6 / seconds).toFixed(0)} | ${(peakBytes / 1e6).toFixed(0)} |`;
}

/** {user: [samples]} of a hundred users, samples of about a kilobyte. */
function writeClients(path: string, numBytes: number): void {
  const descriptor = openSync(path, "w");
  const response = "The quick brown fox jumps over the lazy dog. ".repeat(20);
  let written = writeSync(descriptor, "{");
  for (let user = 0; user < 100; user++) {
    written += writeSync(descriptor, `${user === 0 ? "" : "], "}"user ${String(user)}": [`);
    for (let index = 0; written < (numBytes * (user + 1)) / 100; index += 100) {
      const samples = Array.from({ length: 100 }, (_, place) => JSON.stringify({ instruction: `question ${String(index + place)}`, response }));
      written += writeSync(descriptor, `${index === 0 ? "" : ","}${samples.join(",")}`);
    }
  }
  writeSync(descriptor, "]}");
  closeSync(descriptor);
}
