/** `questions list` and `questions get <names...>`: the question sets of benchmark metrics, which are here, and how they come here. */
import type { Argv, CommandModule } from "yargs";
import type { QuestionSet } from "../../benchmarks/question-sets/catalogue.js";
import type { QuestionManifest } from "../../benchmarks/question-sets/store.js";
import type { DataEnvironment } from "../../config/data-environment.js";
import { problemError } from "../../errors.js";
import { formatBytes, formatTable, printable } from "../../report/format.js";
import { createByteProgress } from "../import-options.js";

interface GetArguments {
  readonly names: readonly string[];
  readonly from: string | undefined;
  readonly url: string | undefined;
  readonly offline: boolean;
  readonly json: boolean;
}

const listCommand: CommandModule<object, { json: boolean }> = {
  command: "list",
  describe: "question sets that are known by name, their licences, and which are installed",
  builder: (argv) => argv.example("$0 questions list", "question sets, and which are here").option("json", { type: "boolean", default: false, describe: "print one JSON value" }),
  handler: async ({ json }) => {
    const [{ QUESTION_SETS }, { readQuestionManifest }, { readDataEnvironment }] = await Promise.all([
      import("../../benchmarks/question-sets/catalogue.js"),
      import("../../benchmarks/question-sets/store.js"),
      import("../../config/data-environment.js"),
    ]);
    const { dataDir } = readDataEnvironment();
    const sets = await Promise.all(
      QUESTION_SETS.map(async (set) => {
        const installed = await readQuestionManifest(dataDir, set);
        return { ...set, ...(installed === undefined ? {} : { installed }) };
      }),
    );
    if (json) {
      process.stdout.write(`${JSON.stringify(sets, null, 2)}\n`);
      return;
    }
    const rows = sets.map(({ name, numItems, licence, files, installed }) => [
      name,
      String(numItems),
      licence.name,
      formatBytes(files.reduce((sum, { numBytes }) => sum + numBytes, 0)),
      installed === undefined ? "no" : `${String(installed.numItems)} questions`,
    ]);
    const lines = [
      ...formatTable([{ title: "name" }, { title: "questions", align: "right" }, { title: "licence" }, { title: "download", align: "right" }, { title: "installed" }], rows),
      "",
      `Folder: ${dataDir}. \`questions get <name>\` fetches one.`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
  },
};

const getCommand: CommandModule<object, GetArguments> = {
  command: "get <names...>",
  describe: "fetch question sets of `questions list`, or take them from files",
  builder: (argv) =>
    argv.example("$0 questions get mmlu humaneval", "fetches two sets and records their hashes")
      .positional("names", { type: "string", array: true, demandOption: true, describe: "names as `questions list` shows them, or all" })
      .option("from", { type: "string", requiresArg: true, describe: "the file, or a folder with the files; for mmlu a folder or an archive" })
      .option("url", { type: "string", requiresArg: true, describe: "another address of the same file, or of the folder of the files" })
      .option("offline", { type: "boolean", default: false, describe: "ask no server" })
      .option("json", { type: "boolean", default: false, describe: "print the result as one JSON value" }),
  handler: async (values) => {
    const [{ QUESTION_SETS, requireQuestionSet }, { readDataEnvironment }] = await Promise.all([
      import("../../benchmarks/question-sets/catalogue.js"),
      import("../../config/data-environment.js"),
    ]);
    const sets = values.names.includes("all") ? QUESTION_SETS : values.names.map(requireQuestionSet);
    checkTogether(values, sets);
    const environment = readDataEnvironment();
    const manifests: QuestionManifest[] = [];
    for (const set of sets) {
      const manifest = await get(set, values, environment);
      manifests.push(manifest);
      if (!values.json) process.stdout.write(describe(manifest));
    }
    if (values.json) process.stdout.write(`${JSON.stringify(manifests, null, 2)}\n`);
  },
};

export const questionsCommand: CommandModule = {
  command: "questions",
  describe: "the question sets of benchmark metrics: which there are, and fetching them",
  builder: (argv: Argv) => argv.command(listCommand).command(getCommand).demandCommand(1, "Which action: list or get?"),
  handler: () => undefined,
};

function checkTogether({ from, url }: GetArguments, sets: readonly QuestionSet[]): void {
  const refuse = (expected: string, received: string) => problemError("CONFIG_INVALID", { subject: "questions get", expected, received });
  if (from !== undefined && url !== undefined) throw refuse("one of --from and --url", "both");
  if ((from !== undefined || url !== undefined) && sets.length !== 1) throw refuse("one name with --from and --url", String(sets.length));
}

async function get(set: QuestionSet, { from, url, offline }: GetArguments, { dataDir, hub, proxies }: DataEnvironment): Promise<QuestionManifest> {
  const [{ makeFolder }, { fetchQuestionSet, installQuestionSet }] = await Promise.all([import("../../util/atomic-file.js"), import("../../benchmarks/question-sets/fetch.js")]);
  const { name, url: terms, note } = set.licence;
  process.stderr.write(`${set.title}\nLicence: ${name} (${note}), ${terms}\n`);
  await makeFolder(dataDir);
  if (from !== undefined) return installQuestionSet(dataDir, set, from);
  const progress = createByteProgress(set.name);
  const network = { isOffline: offline || hub.isOffline, ...proxies };
  // For mirrors on the hub; no other host sees it.
  const token = hub.token === undefined ? {} : { token: { origin: new URL(hub.endpoint).origin, value: hub.token } };
  return fetchQuestionSet({ dataDir, set, network, ...token, onProgress: progress.update, ...(url === undefined ? {} : { url }) }).finally(progress.finish);
}

function describe({ name, numItems, files, warnings }: QuestionManifest): string {
  const hashes = files.map((file) => `, ${file.name} has SHA-256 ${file.sha256}`).join("");
  return [`${name}: ${String(numItems)} questions${hashes}`, ...warnings.map((warning) => `warning: ${printable(warning)}`)].map((line) => `${line}\n`).join("");
}
