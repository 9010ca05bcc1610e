/** The resolved configuration as YAML: what `config show` prints and what a run's folder keeps. Loads like any experiment. */
import { stringify } from "yaml";
import type { ExperimentConfig } from "../config/schema.js";

/** Where editors find the fields' descriptions; the package exports the file under this name. */
const SCHEMA_LINE = "# yaml-language-server: $schema=node_modules/fedllm-native/dist/config/experiment.schema.json";

/** YAML text; every field is spelled out, so later changes of defaults do not change a stored run. */
export function stringifyConfig(config: ExperimentConfig): string {
  return `${SCHEMA_LINE}\n${stringify(config, { aliasDuplicateObjects: false, lineWidth: 0 })}`;
}
