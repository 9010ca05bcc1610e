/** Types of libraries.cjs, for the TypeScript sources that import it. */

export interface InstalledNodeLlamaCpp {
  /** Folder of its package.json. */
  readonly root: string;
  readonly version: string;
  /** llama.cpp release it is made for, for example `v0.4.0`. */
  readonly release: string;
}

export interface InstalledPlatformPackage {
  readonly packageName: string;
  readonly version: string;
  /** Folder with llama-addon.node, libllama and the backend modules. */
  readonly binsDir: string;
  /** Absent when the package carries no build metadata. */
  readonly release?: string;
}

/** Package name (without scope) per `<platform>-<arch>` and backend. */
export const PLATFORM_PACKAGES: Readonly<Record<string, Readonly<Record<string, string>>>>;
export function findPackageRoot(fromDir: string, packageName: string): string | undefined;
export function findNodeLlamaCpp(projectRoot: string): InstalledNodeLlamaCpp | undefined;
export function platformPackageName(platform: string, arch: string, backend: string): string | undefined;
export function findPlatformPackage(projectRoot: string, packageName: string): InstalledPlatformPackage | undefined;
