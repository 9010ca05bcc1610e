/** Checks of single fields of a parsed sample. Each returns the reason why a field is bad, or undefined for a good one. */

export type JsonRecord = Readonly<Record<string, unknown>>;

/** Half of a surrogate pair: legal in a JSON escape, but no text, and not encodable as UTF-8. */
const LONE_SURROGATE = /\p{Surrogate}/u;

/** True for a JSON object. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The JSON type of a value in words, for messages. */
export function describeType(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}

/** The field is a string of whole characters; it may be empty. */
export function checkText(record: JsonRecord, field: string): string | undefined {
  const value = Object.hasOwn(record, field) ? record[field] : undefined;
  if (typeof value !== "string") return `${field}: expected a string, received ${describeType(value)}`;
  return LONE_SURROGATE.test(value) ? `${field}: holds half of a surrogate pair, which is no text` : undefined;
}

/** The field is text with something in it. */
export function checkAnswer(record: JsonRecord, field: string): string | undefined {
  const reason = checkText(record, field);
  if (reason !== undefined) return reason;
  return (record[field] as string).trim() === "" ? `${field}: the answer is empty` : undefined;
}
