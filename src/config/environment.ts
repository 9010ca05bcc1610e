/**
 * Environment variables are read here, and those that concern data in data-environment.ts, and nowhere else. Everything else
 * receives an {@link Environment}, so that tests and embedding programs can pass their own.
 */
import { homedir } from "node:os";
import { join } from "node:path";
import { problemError } from "../errors.js";
import { Secret } from "../util/secret.js";

/** What the process environment says about this program. */
export interface Environment {
  /** FEDLLM_NATIVE_PATH: the addon file to load instead of any other. */
  readonly nativePath?: string;
  /** FEDLLM_CACHE_DIR, or the platform's usual cache folder: where builds and downloads of this user go. */
  readonly cacheDir: string;
  /** NO_COLOR is set to anything. */
  readonly noColor: boolean;
  /** CI is set to anything but "false" or "0". */
  readonly isCi: boolean;
}

/** Variables as in process.env. An empty value counts as not set. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** Reads the variables above; pass `variables` to leave the real environment out. */
export function readEnvironment(variables: Variables = process.env, platform: string = process.platform): Environment {
  const nativePath = valueOf(variables, "FEDLLM_NATIVE_PATH");
  const ci = valueOf(variables, "CI");
  return {
    ...(nativePath === undefined ? {} : { nativePath }),
    cacheDir: valueOf(variables, "FEDLLM_CACHE_DIR") ?? defaultCacheDir(variables, platform),
    noColor: valueOf(variables, "NO_COLOR") !== undefined,
    isCi: ci !== undefined && ci !== "false" && ci !== "0",
  };
}

/** The value of a variable; an empty one counts as not set. */
export function valueOf(variables: Variables, name: string): string | undefined {
  const value = variables[name];
  return value === "" ? undefined : value;
}

/**
 * A secret in the variable of this name, without blanks around it. Throws CONFIG_INVALID, which names the variable and never its value,
 * when it is not set or holds what cannot stand in a header.
 */
export function readSecret(name: string, variables: Variables = process.env): Secret {
  const value = valueOf(variables, name)?.trim();
  const problem = value === undefined || value === "" ? "none" : /^[\x21-\x7e]+$/u.test(value) ? undefined : "other characters than visible ASCII";
  if (problem === undefined) return new Secret(value ?? "");
  throw problemError("CONFIG_INVALID", { subject: `environment variable ${name}`, expected: "a key or token", received: problem, remedy: "Set it for this program alone, not in a file" });
}

function defaultCacheDir(variables: Variables, platform: string): string {
  const base =
    platform === "darwin"
      ? join(homedir(), "Library", "Caches")
      : (valueOf(variables, "XDG_CACHE_HOME") ?? join(homedir(), ".cache"));
  return join(base, "fedllm-native");
}
