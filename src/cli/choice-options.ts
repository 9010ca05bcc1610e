/** Options that name one adapter of a run, for `chat` and `export`. */
import type { Options } from "yargs";

export const choiceOptions = {
  arm: { type: "string", requiresArg: true, describe: "of the run; may be left out where only one has adapters" },
  client: { type: "string", requiresArg: true, describe: "the adapter of this client" },
  group: { type: "string", requiresArg: true, describe: "the adapter of this group of clients" },
  round: { type: "number", requiresArg: true, describe: "the common adapter after this round, where it was kept (default: the last)" },
  finetuned: { type: "boolean", default: false, describe: "the client's adapter after fine-tuning" },
  model: { type: "string", requiresArg: true, describe: "base model of an adapter that lies in no run" },
} as const satisfies Record<string, Options>;
