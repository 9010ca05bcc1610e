/** `eval metrics`: the metrics by name. */
import type { CommandModule } from "yargs";
import { formatTable } from "../../report/format.js";

interface MetricsArguments {
  readonly json: boolean;
}

export const metricsCommand: CommandModule<object, MetricsArguments> = {
  command: "metrics",
  describe: "all metrics, what they measure and need",
  builder: (argv) => argv.example("$0 eval metrics", "names, questions and licences of all metrics").option("json", { type: "boolean", default: false, describe: "print them as one JSON value" }),
  handler: async ({ json }) => {
    const { METRIC_SOURCES } = await import("../../benchmarks/metrics/registry.js");
    if (json) {
      process.stdout.write(`${JSON.stringify(METRIC_SOURCES.map(({ name, title, description, needs }) => ({ name, title, description, needs })), null, 2)}\n`);
      return;
    }
    const rows = METRIC_SOURCES.map(({ name, needs, description }) => [name, [...(needs.judge === true ? ["a judge"] : []), ...(needs.sandbox === true ? ["a sandbox"] : [])].join(", "), description]);
    process.stdout.write(`${formatTable([{ title: "metric" }, { title: "needs" }, { title: "" }], rows).join("\n")}\n`);
  },
};
