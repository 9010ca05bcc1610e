/** Environment variables that concern data: where data sets lie, and how the network and the Hugging Face hub are reached. */
import { homedir } from "node:os";
import { join } from "node:path";
import { valueOf } from "./environment.js";
import type { Variables } from "./environment.js";

export interface DataEnvironment {
  /** FEDLLM_DATA_DIR, or the platform's usual folder for data of programs: where data sets are installed. */
  readonly dataDir: string;
  readonly hub: HubEnvironment;
  readonly proxies: ProxyEnvironment;
}

/** The Hugging Face hub as its own programs understand the environment. */
export interface HubEnvironment {
  /** HF_ENDPOINT, or the hub itself. */
  readonly endpoint: string;
  /** HF_HUB_CACHE, or `hub` in HF_HOME, or in ~/.cache/huggingface. */
  readonly cacheDir: string;
  /** HF_TOKEN. Never printed and never stored. */
  readonly token?: string;
  /** HF_HUB_OFFLINE is 1, true, on or yes. */
  readonly isOffline: boolean;
}

/** http_proxy, https_proxy and no_proxy, in small or capital letters. */
export interface ProxyEnvironment {
  readonly httpProxy?: string;
  readonly httpsProxy?: string;
  readonly noProxy?: string;
}

/** Reads the variables above; pass `variables` to leave the real environment out. */
export function readDataEnvironment(variables: Variables = process.env, platform: string = process.platform): DataEnvironment {
  return {
    dataDir: valueOf(variables, "FEDLLM_DATA_DIR") ?? defaultDataDir(variables, platform),
    hub: readHub(variables),
    proxies: readProxies(variables),
  };
}

function defaultDataDir(variables: Variables, platform: string): string {
  const base =
    platform === "darwin"
      ? join(homedir(), "Library", "Application Support")
      : (valueOf(variables, "XDG_DATA_HOME") ?? join(homedir(), ".local", "share"));
  return join(base, "fedllm-native", "data");
}

function readHub(variables: Variables): HubEnvironment {
  const token = valueOf(variables, "HF_TOKEN")?.trim();
  const home = valueOf(variables, "HF_HOME") ?? join(valueOf(variables, "XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface");
  return {
    endpoint: (valueOf(variables, "HF_ENDPOINT") ?? "https://huggingface.co").replace(/\/+$/, ""),
    cacheDir: valueOf(variables, "HF_HUB_CACHE") ?? join(home, "hub"),
    ...(token === undefined || token === "" ? {} : { token }),
    isOffline: /^(1|true|on|yes)$/i.test(valueOf(variables, "HF_HUB_OFFLINE") ?? ""),
  };
}

function readProxies(variables: Variables): ProxyEnvironment {
  const either = (name: string) => valueOf(variables, name) ?? valueOf(variables, name.toUpperCase());
  const [httpProxy, httpsProxy, noProxy] = ["http_proxy", "https_proxy", "no_proxy"].map(either);
  return {
    ...(httpProxy === undefined ? {} : { httpProxy }),
    ...(httpsProxy === undefined ? {} : { httpsProxy }),
    ...(noProxy === undefined ? {} : { noProxy }),
  };
}
