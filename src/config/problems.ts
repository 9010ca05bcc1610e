/**
 * Turns the schema's findings into messages of the common form: which field (and line), what was expected, what came,
 * and what may have been meant. Nothing here reads files.
 */
import type { z } from "zod";
import { describeProblem } from "../errors.js";
import { experimentJsonSchema } from "./schema.js";
import { suggest } from "./suggest.js";

type Issue = z.core.$ZodIssue;

/** Where a field's value was written, for example `experiment.yaml line 12` or `--set`; undefined when it was nowhere. */
export type OriginOf = (path: readonly PropertyKey[], options?: { readonly key?: string }) => string | undefined;

/** One message per finding, in the order of the schema. `raw` is the value that was checked. */
export function describeIssues(issues: readonly Issue[], raw: unknown, originOf: OriginOf): string[] {
  return issues.flatMap((issue) => describeIssue(issue, raw, originOf, []));
}

function describeIssue(issue: Issue, raw: unknown, originOf: OriginOf, prefix: readonly PropertyKey[]): string[] {
  const path = [...prefix, ...issue.path];
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => describeUnknownKey(path, key, originOf));
  const value = valueAt(raw, path);
  if (issue.code === "invalid_union" && path.join() === "arms") {
    // Of sections only `arms` is a union: a list, or the grid. The branch the user meant is told by the value itself.
    const branch = issue.errors[Array.isArray(value) ? 0 : 1];
    const isSection = typeof value === "object" && value !== null;
    if (isSection && branch !== undefined) return branch.flatMap((inner) => describeIssue(inner, raw, originOf, path));
  }
  return [
    describeProblem({
      subject: subjectOf(path, originOf(path)),
      expected: expectationOf(issue),
      received: showValue(value),
    }),
  ];
}

/** What an issue of zod asks for, in words. */
function expectationOf(issue: Issue): string {
  if (issue.code === "invalid_type") return TYPE_WORDS[issue.expected] ?? issue.expected;
  if (issue.code === "too_small" || issue.code === "too_big") return boundOf(issue);
  if (issue.code === "invalid_value") return `${issue.values.length > 1 ? "one of " : ""}${issue.values.map((value) => String(value)).join(", ")}`;
  if (issue.code === "invalid_union") {
    if (issue.path.join() === "arms") return "a list of arms, or a grid with `precisions` and `strategies`";
    // Other unions are of single values, each branch of which has one thing to say.
    return issue.errors.flatMap((branch) => branch.slice(0, 1).map(expectationOf)).join(" or ");
  }
  return issue.message;
}

const TYPE_WORDS: Readonly<Record<string, string>> = {
  int: "a whole number",
  number: "a number",
  string: "a text",
  boolean: "true or false",
  array: "a list",
  object: "a section with fields",
};

function boundOf(issue: Extract<Issue, { code: "too_small" | "too_big" }>): string {
  const bound = issue.code === "too_small" ? issue.minimum : issue.maximum;
  const inclusive = issue.inclusive ?? true;
  const size = issue.code === "too_small" ? (inclusive ? "at least" : "more than") : inclusive ? "at most" : "less than";
  if (issue.origin === "string") return `a text of ${size} ${String(bound)} characters`;
  if (issue.origin === "array") return `a list of ${size} ${String(bound)} entries`;
  return `${issue.origin === "int" ? "a whole number" : "a number"} of ${size} ${String(bound)}`;
}

function describeUnknownKey(path: readonly PropertyKey[], key: string, originOf: OriginOf): string {
  const known = knownKeys(path);
  const close = suggest(key, known);
  const elsewhere = fieldPaths().filter((field) => field.split(".").at(-1) === key);
  const meant = close ?? (elsewhere.length > 0 ? elsewhere.join(" or ") : undefined);
  return describeProblem({
    subject: subjectOf([...path, key], originOf(path, { key })),
    expected: known.length > 0 ? `one of the fields ${known.join(", ")}` : "no such field",
    received: "an unknown field",
    ...(meant === undefined ? {} : { remedy: `Did you mean ${meant}?` }),
  });
}

interface JsonSchemaNode {
  readonly properties?: Readonly<Record<string, JsonSchemaNode>>;
  readonly items?: JsonSchemaNode;
  readonly anyOf?: readonly JsonSchemaNode[];
}

/** Names of the fields allowed at a path of the experiment file. */
export function knownKeys(path: readonly PropertyKey[]): string[] {
  let node: JsonSchemaNode | undefined = experimentJsonSchema();
  for (const part of path) {
    const branches: readonly JsonSchemaNode[] = node?.anyOf ?? (node === undefined ? [] : [node]);
    node = branches
      .map((branch) => (typeof part === "number" ? branch.items : branch.properties?.[String(part)]))
      .find((found) => found !== undefined);
  }
  const branches = node?.anyOf ?? (node === undefined ? [] : [node]);
  return branches.flatMap((branch) => Object.keys(branch.properties ?? {}));
}

/** Dotted paths of all fields outside `arms`, for suggestions across sections and for shell completion. */
export function fieldPaths(): string[] {
  const walk = (node: JsonSchemaNode, prefix: string): string[] =>
    Object.entries(node.properties ?? {}).flatMap(([key, child]) => {
      const path = prefix === "" ? key : `${prefix}.${key}`;
      return child.properties === undefined ? [path] : walk(child, path);
    });
  return walk(experimentJsonSchema(), "");
}

function subjectOf(path: readonly PropertyKey[], origin: string | undefined): string {
  const field = path.length === 0 ? "experiment" : path.map((part) => String(part)).join(".");
  return origin === undefined ? field : `${field} (${origin})`;
}

/** The value at a path, or undefined where the path ends early. */
export function valueAt(raw: unknown, path: readonly PropertyKey[]): unknown {
  let value = raw;
  for (const part of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[part];
  }
  return value;
}

/** Longest piece of a wrong value that a message repeats. */
const SHOWN_LENGTH_MAX = 80;

function showValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "number") return String(value);
  const text = JSON.stringify(value);
  return text.length <= SHOWN_LENGTH_MAX ? text : `${text.slice(0, SHOWN_LENGTH_MAX)}…`;
}
