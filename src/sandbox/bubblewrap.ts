/**
 * The system's Python behind bubblewrap (Linux): namespaces of its own for users, processes, network, mounts and the rest, a file tree of
 * Python and its libraries alone, read-only but for a small folder in memory, no environment, limits of the kernel, and a filter of system
 * calls. A program takes about 60 ms more than its own time.
 */
import { existsSync, lstatSync, readFileSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { firstFile, GUEST_FOLDER, systemProgram } from "./backend.js";
import type { GuestRole, SandboxBackend } from "./backend.js";
import type { GuestCommand } from "./guest-process.js";
import { resourceLimits } from "./limits.js";
import type { SandboxLimits } from "./limits.js";
import { buildSystemCallFilter } from "./system-call-filter.js";

/** nobody: where this process is root, guests are not. */
const NOBODY = { uid: 65534, gid: 65534 };

/** The forms of the backend to be tried in order, the strictest first; none when a program is missing, with the word why. */
export function bubblewrapBackends(limits: SandboxLimits): { readonly backends: readonly SandboxBackend[]; readonly missing?: string } {
  if (process.platform !== "linux") return { backends: [], missing: "it is for Linux" };
  const bwrap = systemProgram("bwrap");
  if (bwrap === undefined) return { backends: [], missing: "bwrap is not installed (apt-get install bubblewrap)" };
  const python = firstFile(["/usr/bin/python3", "/usr/local/bin/python3"]);
  if (python === undefined) return { backends: [], missing: "there is no /usr/bin/python3" };
  const guest = readFileSync(join(GUEST_FOLDER, "guest.py"), "utf8");
  const filter = buildSystemCallFilter(process.arch);
  const users = process.getuid?.() === 0 ? [NOBODY, undefined] : [undefined];

  const backends = users.flatMap((user) =>
    // Releases before 0.7 cannot bound a folder in memory; programs then have no place to write.
    [true, false].map((hasFolder): SandboxBackend => ({
      name: "bubblewrap",
      forgetsPrograms: false,
      command: (role: GuestRole): GuestCommand => ({
        file: bwrap,
        args: [
          ...isolation(realpathSync(python)),
          ...(hasFolder ? ["--size", String(limits.fileBytes), "--tmpfs", "/tmp", "--chdir", "/tmp"] : ["--chdir", "/"]),
          ...(filter === undefined ? [] : ["--seccomp", "3"]),
          ...["--remount-ro", "/", "--", realpathSync(python)],
          ...["-I", "-S", "-c", guest, role, JSON.stringify(resourceLimits(limits, role))],
        ],
        ...(filter === undefined ? {} : { descriptor3: filter }),
        ...(user === undefined ? {} : { user }),
      }),
    })),
  );
  return { backends };
}

function isolation(python: string): string[] {
  return [
    ...["--unshare-all", "--unshare-user", "--die-with-parent", "--new-session", "--clearenv"],
    ...["--cap-drop", "ALL", "--hostname", "sandbox"],
    ...["--ro-bind", python, python],
    ...["/usr/lib", "/usr/lib64", "/lib", "/lib64"].flatMap(libraryFolder),
    ...(python.startsWith("/usr/local/") ? libraryFolder("/usr/local/lib") : []),
    // Packages of Node's are installed among the libraries; this program may be one of them.
    ...["/usr/lib/node_modules", "/usr/local/lib/node_modules"].flatMap((path) =>
      existsSync(path) && (path.startsWith("/usr/lib/") || python.startsWith("/usr/local/")) ? ["--perms", "0000", "--tmpfs", path, "--remount-ro", path] : [],
    ),
    ...["--dev-bind", "/dev/null", "/dev/null"],
  ];
}

/** A library folder as it is on this system: a folder, a link to one, or not there. */
function libraryFolder(path: string): string[] {
  if (!existsSync(path)) return [];
  return lstatSync(path).isSymbolicLink() ? ["--symlink", realpathSync(path), path] : ["--ro-bind", path, path];
}
