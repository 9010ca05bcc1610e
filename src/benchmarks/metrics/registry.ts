/** All metrics by name. One is added by its file and a line here. */
import { suggest } from "../../config/suggest.js";
import { problemError } from "../../errors.js";
import type { MetricSource } from "../metric.js";
import { advBenchSource } from "./advbench.js";
import { gsm8kSource } from "./gsm8k.js";
import { heldOutSource } from "./held-out.js";
import { humanEvalSource } from "./humaneval.js";
import { mmluSource } from "./mmlu.js";
import { mtBenchSource } from "./mt-bench.js";
import { preferenceSource } from "./preference.js";
import { refGpt4Sources } from "./ref-gpt4.js";
import { replySource } from "./reply.js";
import { vicunaSource } from "./vicuna.js";

/** In the order of tables. */
export const METRIC_SOURCES: readonly MetricSource[] = [
  heldOutSource,
  replySource,
  preferenceSource,
  mtBenchSource,
  vicunaSource,
  ...refGpt4Sources,
  advBenchSource,
  mmluSource,
  humanEvalSource,
  gsm8kSource,
];

/** Throws CONFIG_INVALID, with all names, for one that is not there. */
export function findMetricSource(name: string): MetricSource {
  const source = METRIC_SOURCES.find((candidate) => candidate.name === name);
  if (source !== undefined) return source;
  const known = METRIC_SOURCES.map((candidate) => candidate.name);
  const close = suggest(name, known);
  throw problemError("CONFIG_INVALID", {
    subject: "metric",
    expected: `one of ${known.join(", ")}`,
    received: JSON.stringify(name),
    ...(close === undefined ? {} : { remedy: `Did you mean ${close}?` }),
  });
}
