/** All points in one CSV file. */
import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import type { Sink } from "./sink.js";

/** Writes the file anew. */
export function csvSink(path: string): Sink {
  let isBegun = false;
  return {
    name: "csv",
    write: async (points) => {
      if (!isBegun) {
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, "arm,round,time,metric,value\n");
        isBegun = true;
      }
      const lines = points.map(({ arm, round, timeMs, name, value }) => `${arm},${String(round)},${new Date(timeMs).toISOString()},${quote(name)},${String(value)}\n`);
      await appendFile(path, lines.join(""));
    },
    finish: () => Promise.resolve(),
  };
}

/** Names of groups are the user's. */
function quote(text: string): string {
  return /[",\r\n]/u.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
