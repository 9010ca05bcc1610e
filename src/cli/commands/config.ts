/** `config show|schema|validate`: what an experiment resolves to, which fields there are, whether a file is right. */
import type { Argv, CommandModule } from "yargs";
import { loadConfigFrom, withConfigOptions } from "../options.js";

export const configCommand: CommandModule = {
  command: "config",
  describe: "show, describe or check an experiment's configuration",
  builder: (argv: Argv) =>
    argv
      .command(showCommand)
      .command(schemaCommand)
      .command(validateCommand)
      .demandCommand(1, "Which action: show, schema or validate?"),
  handler: () => undefined,
};

const showCommand: CommandModule<object, { experiment: string | undefined }> = {
  command: "show [experiment]",
  describe: "print the resolved configuration, with defaults and overrides applied",
  builder: (argv) => withConfigOptions(argv.example("$0 config show experiment.yaml --num-rounds 5", "every field with its value, defaults included")),
  handler: async (values) => {
    const [{ config }, { stringifyConfig }] = await Promise.all([
      loadConfigFrom({ ...values }),
      import("../../run/resolved-config.js"),
    ]);
    process.stdout.write(stringifyConfig(config));
  },
};

const schemaCommand: CommandModule = {
  command: "schema",
  describe: "print the JSON Schema of experiment files",
  builder: (argv) => argv.example("$0 config schema > experiment.schema.json", "for editors that complete and check YAML"),
  handler: async () => {
    const { experimentJsonSchema } = await import("../../config/schema.js");
    process.stdout.write(`${JSON.stringify(experimentJsonSchema(), null, 2)}\n`);
  },
};

const validateCommand: CommandModule<object, { experiment: string | undefined }> = {
  command: "validate [experiment]",
  describe: "check an experiment file and its overrides",
  builder: (argv) => withConfigOptions(argv.example("$0 config validate experiment.yaml", "checks a file without loading model or data")),
  handler: async (values) => {
    const [{ config, file, fingerprint }, { resolveModelPath }, { missingInputs }] = await Promise.all([
      loadConfigFrom({ ...values }),
      import("../../config/builtin.js"),
      import("../../run/planned-model.js"),
    ]);
    const missing = missingInputs(config);
    if (missing.model === undefined) resolveModelPath(config.model);
    for (const note of missing.notes) process.stderr.write(`note: ${note}\n`);
    const arms = config.arms.map((arm) => arm.name).join(", ");
    process.stdout.write(`${file ?? "experiment"} is valid: arms ${arms}; fingerprint ${fingerprint.slice(0, 12)}\n`);
  },
};
