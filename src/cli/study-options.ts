/** What the commands that look at several runs have in common: their options, and opening the runs. */
import type { InferredOptionTypes, Options } from "yargs";
import type { StudyOptions } from "../report/study/build.js";
import type { Study } from "../report/study/study.js";

export const studyOptions = {
  against: { type: "string", requiresArg: true, describe: "arm that all others are compared with (default: quantized with unquantized arms, strategies with fedavg)" },
  metric: { type: "string", requiresArg: true, describe: "metric that the study is about (default: held-out loss)" },
  target: { type: "number", requiresArg: true, describe: "value of that metric to which rounds, bytes and time are counted (default: the best that every arm reached)" },
} as const satisfies Record<string, Options>;

export type StudyArguments = InferredOptionTypes<typeof studyOptions> & { readonly title?: string | undefined };

/** Opens the runs, reads them and closes them. Errors as openRuns and buildStudy. */
export async function studyFrom(names: readonly string[], values: StudyArguments): Promise<Study> {
  const [{ ensureSqlite }, { openRuns, closeRuns }, { buildStudy }] = await Promise.all([
    import("../metrics/ensure-sqlite.js"),
    import("../report/study/source.js"),
    import("../report/study/build.js"),
  ]);
  await ensureSqlite({ onProgress: (line) => process.stderr.write(`${line}\n`) });
  const runs = await openRuns(names);
  try {
    return buildStudy(runs, optionsFrom(values));
  } finally {
    closeRuns(runs);
  }
}

/** The options that were given. */
export function optionsFrom({ against, metric, target, title }: StudyArguments): StudyOptions {
  return {
    ...(against === undefined ? {} : { against }),
    ...(metric === undefined ? {} : { metric }),
    ...(target === undefined ? {} : { target }),
    ...(title === undefined ? {} : { title }),
  };
}
