/** `data import <files...>`: files of other forms into one file of client data. */
import type { CommandModule } from "yargs";
import { createByteProgress, describeProblems, describeWritten, importOptionsFrom, withImportOptions } from "../import-options.js";
import type { ImportArguments } from "../import-options.js";

interface Arguments extends ImportArguments {
  readonly userKey: string | undefined;
  readonly minSamples: number;
  readonly maxClients: number | undefined;
}

export const dataImportCommand: CommandModule<object, Arguments> = {
  command: "import <files...>",
  describe: "bring files of other forms into one file of client data",
  builder: (argv) =>
    withImportOptions(argv.example("$0 data import chats.jsonl --form openai --user-key user_id --out clients.json", "one client per user of a log of chats"))
      .option("user-key", { type: "string", requiresArg: true, describe: "field that names the user; dots lead into fields" })
      .option("min-samples", { type: "number", default: 1, describe: "users with fewer samples are left out; all are in a second file, <name>.unfiltered.<ending>" })
      .option("max-clients", { type: "number", requiresArg: true, describe: "only the first so many users with enough samples" }) as never,
  handler: async (values) => {
    const [{ importData }, { describeImportProblem }, options] = await Promise.all([
      import("../../data/import/import.js"),
      import("../../data/import/sample-stream.js"),
      importOptionsFrom(values),
    ]);
    const progress = createByteProgress("read");
    const result = await importData({
      ...options,
      out: values.out,
      overwrite: values.overwrite,
      minSamples: values.minSamples,
      onProgress: progress.update,
      ...(values.userKey === undefined ? {} : { userKey: values.userKey }),
      ...(values.maxClients === undefined ? {} : { maxClients: values.maxClients }),
    }).finally(progress.finish);
    if (values.json) {
      process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
      return;
    }
    const lines = [
      describeWritten(result.written),
      ...(result.unfiltered === undefined ? [] : [describeWritten(result.unfiltered)]),
      `${String(result.kind)} samples of the form ${String(result.form)}`,
      ...describeProblems(result.problems, result.numProblems, describeImportProblem),
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};
