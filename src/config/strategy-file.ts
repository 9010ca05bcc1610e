/**
 * Strategies by reference: a name of the registry, or a file whose default export is a StrategyDefinition. Files are
 * loaded once per process, as all modules are.
 */
import { access } from "node:fs/promises";
import { createRequire } from "node:module";
import { basename, extname } from "node:path";
import { pathToFileURL } from "node:url";
import { problemError } from "../errors.js";
import { ownStrategySource } from "../federated/own-strategy.js";
import { registeredStrategy, type StrategySource } from "../federated/strategies/registry.js";

/** What tells a file from a name. */
export const STRATEGY_FILE_PATTERN = /\.(?:ts|mts|js|mjs)$/;

export function isStrategyFile(reference: string): boolean {
  return STRATEGY_FILE_PATTERN.test(reference);
}

/** How a strategy is called in tables, names of arms and rows: a file's name without folder and ending. */
export function strategyLabel(reference: string): string {
  if (!isStrategyFile(reference)) return reference;
  const plain = basename(reference, extname(reference)).replaceAll(/[^A-Za-z0-9._-]/g, "-");
  return /^[A-Za-z0-9]/.test(plain) ? plain : `own${plain}`;
}

/**
 * The source of the strategies of a reference; a file is named by its absolute path. Throws CONFIG_INVALID for an unknown
 * name, and for a file that is missing, cannot be loaded or exports something else.
 */
export async function loadStrategy(reference: string): Promise<StrategySource> {
  return isStrategyFile(reference) ? ownStrategySource(await loadDefault(reference), reference) : registeredStrategy(reference);
}

async function loadDefault(file: string): Promise<unknown> {
  try {
    await access(file);
  } catch (error) {
    throw problemError("CONFIG_INVALID", { subject: "strategy", expected: "an existing file", received: file }, error);
  }
  try {
    return ((await importModule(file)) as { readonly default?: unknown }).default;
  } catch (error) {
    const received = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    if (hasCode(error, "ERR_UNKNOWN_FILE_EXTENSION")) throw noTypeScript(file, error);
    throw problemError("CONFIG_INVALID", { subject: file, expected: "a module that loads", received }, error);
  }
}

/** Node 22.18 and newer read TypeScript themselves; before that tsx does, where it is installed. */
async function importModule(file: string): Promise<unknown> {
  const url = pathToFileURL(file).href;
  try {
    return await import(url);
  } catch (error) {
    if (!hasCode(error, "ERR_UNKNOWN_FILE_EXTENSION")) throw error;
    const tsx = findTsx(file);
    if (tsx === undefined) throw error;
    const { tsImport } = (await import(pathToFileURL(tsx).href)) as { tsImport: (url: string, parent: string) => Promise<unknown> };
    return tsImport(url, url);
  }
}

/** The loader's file, looked for from the strategy's folder, then from this program's; undefined where it is not installed. */
function findTsx(file: string): string | undefined {
  for (const start of [file, import.meta.url]) {
    try {
      // What require finds is the CommonJS form, which cannot be imported; the other one lies beside it.
      return createRequire(start).resolve("tsx/esm/api").replace(/\.cjs$/, ".mjs");
    } catch {
      // Not installed there.
    }
  }
  return undefined;
}

function noTypeScript(file: string, cause: unknown) {
  return problemError(
    "CONFIG_INVALID",
    {
      subject: file,
      expected: "a language this Node reads",
      received: `TypeScript on Node ${process.version}`,
      remedy: "Use Node 22.18 or newer, install tsx beside the file (npm install tsx), or write the strategy as .mjs",
    },
    cause,
  );
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
