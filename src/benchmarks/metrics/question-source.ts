/** Where a metric's questions are: a file or folder of the user's own, or the installed set of the metric's name. */
import { readDataEnvironment } from "../../config/data-environment.js";
import type { MetricOptions } from "../metric.js";
import { requireQuestionSet } from "../question-sets/catalogue.js";
import { requireInstalled } from "../question-sets/store.js";

/** The user's file or folder, or the folder of the installed set. Throws CONFIG_INVALID, with the way to get the set, where there is neither. */
export function questionsAt(name: string, { file }: Pick<MetricOptions, "file">): { readonly own: string } | { readonly installed: string } {
  return file === undefined ? { installed: requireInstalled(readDataEnvironment().dataDir, requireQuestionSet(name)) } : { own: file };
}
