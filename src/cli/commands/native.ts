/** `native build`: compiles the addon into this user's cache, whether or not another one exists. */
import type { Argv, CommandModule } from "yargs";

export const nativeCommand: CommandModule = {
  command: "native",
  describe: "build the native addon",
  builder: (argv: Argv) => argv.command(buildCommand).demandCommand(1, "Which action: build?"),
  handler: () => undefined,
};

const buildCommand: CommandModule = {
  command: "build",
  describe: "compile the addon for this machine (needs CMake and a C++ compiler)",
  builder: (argv) => argv.example("$0 native build", "compiles the addon again, for example after an update of the compiler"),
  handler: async () => {
    const { buildAddon } = await import("../../native/build.js");
    const path = await buildAddon({ onProgress: (line) => process.stderr.write(`${line}\n`) });
    process.stdout.write(`${path}\n`);
  },
};
