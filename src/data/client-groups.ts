/**
 * Groups of clients by what their data says (a field of the samples, such as the language), by language family, or by a file
 * that names the group of each client. The same rule tells which group a part of a held-out file belongs to.
 */
import { readFile } from "node:fs/promises";
import { createHash } from "node:crypto";
import { problemError } from "../errors.js";
import { languageFamily } from "./language-families.js";
import { isRecord } from "./sample-fields.js";

/** How clients are put into groups. */
export type GroupRule =
  /** By the most frequent value of this field of a client's samples. */
  | { readonly by: "field"; readonly field: string }
  /** The same with the language family of that value. */
  | { readonly by: "languageFamily"; readonly field: string }
  /** By a JSON object {client id: group}. */
  | { readonly by: "file"; readonly file: string };

/** The groups of a data set. */
export interface ClientGroups {
  /** Group by client id, for all clients, in their order. */
  readonly groupOf: ReadonlyMap<string, string>;
  /** SHA-256 of the file that says it; absent: the data itself does. */
  readonly sha256?: string;
  /** The group that this name of a part of a held-out file (a client, a group, or a value of the field) belongs to. */
  readonly groupNamed: (name: string) => string | undefined;
}

/** A client, and what its samples have in the field of the rule. */
export interface GroupMember {
  readonly id: string;
  /** Absent: no sample has the field as text. */
  readonly attribute?: string;
}

/** Longest name of a group, which becomes a name of files and columns. */
const MAX_NAME_LENGTH = 128;

/**
 * Puts every client into a group. Throws DATASET_INVALID for a client that the rule has no group for, and CONFIG_INVALID
 * or IO_FAILED for a file that is not such a map.
 */
export async function groupClients(clients: readonly GroupMember[], rule: GroupRule): Promise<ClientGroups> {
  if (rule.by === "file") return groupsFromFile(clients, rule.file);
  const nameOf = (value: string) => (rule.by === "languageFamily" ? languageFamily(value) : value);
  const groupOf = new Map(clients.map((client) => [client.id, groupOfAttribute(client, rule, nameOf)]));
  const names = new Set(groupOf.values());
  return {
    groupOf,
    groupNamed: (name) => groupOf.get(name) ?? [name, nameOf(name)].find((group) => group !== undefined && names.has(group)),
  };
}

function groupOfAttribute(
  { id, attribute }: GroupMember,
  { by, field }: Exclude<GroupRule, { by: "file" }>,
  nameOf: (value: string) => string | undefined,
): string {
  const subject = `field ${JSON.stringify(field)} of client ${JSON.stringify(id)}`;
  const remedy = "Name the groups in a file: data.groups: {by: file, file: groups.json}";
  if (attribute === undefined) {
    throw problemError("DATASET_INVALID", { subject, expected: "text that names its group in at least one sample", received: "none", remedy });
  }
  const group = nameOf(attribute);
  if (group === undefined) {
    throw problemError("DATASET_INVALID", { subject, expected: "a language of the table of language families", received: JSON.stringify(attribute), remedy });
  }
  return checkName(group, subject, by);
}

async function groupsFromFile(clients: readonly GroupMember[], file: string): Promise<ClientGroups> {
  const bytes = await readFile(file).catch((error: unknown) => {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("IO_FAILED", { subject: `data.groups.file ${file}`, expected: "a readable JSON file", received }, error);
  });
  const named = parseNames(bytes.toString("utf8"), file);
  const groupOf = new Map(
    clients.map(({ id }) => {
      const group = named.get(id);
      if (typeof group === "string") return [id, checkName(group, `${file}, client ${JSON.stringify(id)}`, "file")] as const;
      throw problemError("DATASET_INVALID", {
        subject: file,
        expected: `the group of client ${JSON.stringify(id)}, as text`,
        received: group === undefined ? "none" : JSON.stringify(group),
      });
    }),
  );
  const names = new Set(groupOf.values());
  return {
    groupOf,
    sha256: createHash("sha256").update(bytes).digest("hex"),
    groupNamed: (name) => groupOf.get(name) ?? (names.has(name) ? name : undefined),
  };
}

function parseNames(text: string, file: string): ReadonlyMap<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("CONFIG_INVALID", { subject: `data.groups.file ${file}`, expected: "JSON", received }, error);
  }
  if (isRecord(value)) return new Map(Object.entries(value));
  throw problemError("CONFIG_INVALID", {
    subject: `data.groups.file ${file}`,
    expected: "a JSON object {client id: group}",
    received: Array.isArray(value) ? "an array" : String(value),
  });
}

function checkName(group: string, subject: string, by: GroupRule["by"]): string {
  if (group.trim() !== "" && group.length <= MAX_NAME_LENGTH) return group;
  throw problemError("DATASET_INVALID", {
    subject: `${subject}, grouped by ${by}`,
    expected: `a group's name of 1 to ${String(MAX_NAME_LENGTH)} characters`,
    received: JSON.stringify(group.slice(0, 40)),
  });
}
