/**
 * Whether an addon was built from the sources of the boundary that lie beside this program. One built from older sources would load and
 * then misread what it is given, so the build writes the hash of native/addon into it (native/CMakeLists.txt), and it is compared before
 * the file is loaded.
 */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** Stands before the hash in the file of an addon. */
const MARK = "fedllm-addon-sources:";

/** SHA-256 of the sources of the boundary below this folder, as CMakeLists.txt makes it; undefined where there are none. */
export function sourcesHash(projectRoot: string): string | undefined {
  const folder = join(projectRoot, "native", "addon");
  const names = listFolder(folder).filter((name) => /\.(?:cpp|h)$/u.test(name)).sort();
  if (names.length === 0) return undefined;
  const listing = names.map((name) => `${name} ${sha256(readFileSync(join(folder, name)))}\n`).join("");
  return sha256(listing);
}

/** The hash of the sources that this addon was built from; undefined for one that does not say, which is an older one. */
export function builtFrom(addonPath: string): string | undefined {
  const bytes = readFileSync(addonPath);
  const start = bytes.indexOf(MARK);
  const hash = start < 0 ? "" : bytes.toString("latin1", start + MARK.length, start + MARK.length + 64);
  return /^[0-9a-f]{64}$/u.test(hash) ? hash : undefined;
}

function sha256(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

function listFolder(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
