/** Gives a record's fields the names that the forms know: `--map response=answer.text` takes the response from a field inside another. */
import { problemError } from "../../errors.js";
import { isRecord } from "../sample-fields.js";
import type { JsonRecord } from "../sample-fields.js";

/** Names that a field can be given: those of the forms. */
export const MAPPED_FIELDS = [
  ...["instruction", "input", "response", "conversations", "messages"],
  ...["prompt", "completion", "chosen", "rejected"],
] as const;

/** Where each field is taken from: names of fields, from the outer to the inner one. */
export type FieldMap = ReadonlyMap<string, readonly string[]>;

/** Reads `field=source` settings. Throws CONFIG_INVALID for unknown fields and missing sources. */
export function parseFieldMap(settings: readonly string[]): FieldMap {
  const map = new Map<string, readonly string[]>();
  for (const setting of settings) {
    const split = setting.indexOf("=");
    const field = setting.slice(0, split);
    const source = setting.slice(split + 1);
    if (split < 1 || source === "" || !(MAPPED_FIELDS as readonly string[]).includes(field)) {
      throw problemError("CONFIG_INVALID", {
        subject: "--map",
        expected: `field=source with one of the fields ${MAPPED_FIELDS.join(", ")}`,
        received: JSON.stringify(setting),
      });
    }
    map.set(field, source.split("."));
  }
  return map;
}

/** The record under the mapped names; with an empty map the record itself. Fields that are not there stay away. */
export function mapFields(value: unknown, map: FieldMap): unknown {
  if (map.size === 0 || !isRecord(value)) return value;
  const entries = [...map].map(([field, path]) => [field, valueAt(value, path)] as const);
  return Object.fromEntries(entries.filter(([, inner]) => inner !== undefined));
}

/** The value of a field inside others; own fields and places of lists only. A field whose name has dots is found too. */
export function valueAt(record: JsonRecord, path: readonly string[]): unknown {
  const whole = path.join(".");
  if (Object.hasOwn(record, whole)) return record[whole];
  let value: unknown = record;
  for (const name of path) {
    if (Array.isArray(value)) value = (value as unknown[]).at(/^-?\d+$/.test(name) ? Number(name) : Number.NaN);
    else value = isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined;
  }
  return value;
}
