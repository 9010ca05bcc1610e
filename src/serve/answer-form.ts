/**
 * Grammars for answers of a given form. node-llama-cpp turns what it does not know of a JSON schema into something else without a word, so a
 * schema is checked first: what it says is either kept to or refused.
 */
import { LlamaGrammarEvaluationState } from "node-llama-cpp";
import type { Llama, LlamaGrammar } from "node-llama-cpp";
import type { Lease } from "../generation/context-pool.js";
import { badRequest } from "./api-error.js";
import type { AnswerForm } from "./completion-request.js";

/** How node-llama-cpp's grammars of JSON end, which is no part of the answer. */
export const JSON_END = "\n\n\n\n";
const FIELD = "response_format";
const MAX_DEPTH = 32;
const MAX_NODES = 2000;

/** Annotations say nothing about what is valid. */
const ANNOTATIONS = ["title", "description", "default", "examples", "$schema", "$id", "$comment"];
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "format"],
  number: [],
  integer: [],
  boolean: [],
  null: [],
};
const FORMATS: ReadonlySet<unknown> = new Set(["date-time", "time", "date"]);

/** Makes the grammar. Throws ApiError 400 for a schema that cannot be kept to. */
export async function grammarOf({ llama, model }: Pick<Lease, "llama" | "model">, form: AnswerForm): Promise<LlamaGrammar> {
  const schema = form.type === "json" ? { type: "object", additionalProperties: true } : form.schema;
  checkSchema(schema);
  try {
    const grammar = await llama.createGrammarForJsonSchema(schema as Parameters<Llama["createGrammarForJsonSchema"]>[0]);
    // Only here does llama.cpp look for what it cannot follow, such as a definition of itself.
    new LlamaGrammarEvaluationState({ model, grammar });
    return grammar;
  } catch (error) {
    throw badRequest(FIELD, `${FIELD}: the schema has no grammar (${error instanceof Error ? error.message : "unknown"})`, "unsupported_schema");
  }
}

/** Throws ApiError 400 for anything in a schema that a grammar would not hold an answer to. */
export function checkSchema(root: unknown): void {
  let numNodes = 0;
  const check = (schema: unknown, path: string, depth: number): void => {
    if (typeof schema !== "object" || schema === null || Array.isArray(schema)) throw refuse(path, "a schema is an object here");
    if (depth > MAX_DEPTH || ++numNodes > MAX_NODES) throw refuse(path, "the schema is too large");
    const node = schema as Readonly<Record<string, unknown>>;
    const keys = Object.keys(node).filter((key) => !ANNOTATIONS.includes(key) && !(depth === 0 && key === "$defs"));
    if (typeof node["$ref"] === "string") {
      checkKeys(path, keys, ["$ref"]);
      checkReference(path, node["$ref"], root);
      return;
    }
    if ("const" in node || "enum" in node) {
      checkValues(node, path, keys);
      return;
    }
    if ("oneOf" in node) {
      checkKeys(path, keys, ["oneOf"]);
      for (const [index, part] of listOf(node["oneOf"], `${path}.oneOf`).entries()) check(part, `${path}.oneOf.${String(index)}`, depth + 1);
      return;
    }
    const types = Array.isArray(node["type"]) ? node["type"] : [node["type"]];
    const [type] = types as unknown[];
    if (types.length === 0 || !types.every((each) => typeof each === "string" && each in ALLOWED)) throw refuse(path, `type is to be one of ${Object.keys(ALLOWED).join(", ")}`);
    if (types.length > 1 && types.some((each) => each === "object" || each === "array")) throw refuse(path, "a list of types may not have object or array; use oneOf");
    checkKeys(path, keys, ["type", ...(types.length > 1 ? [] : (ALLOWED[String(type)] ?? []))]);
    checkParts(node, path, (part, partPath) => {
      check(part, partPath, depth + 1);
    });
  };
  check(root, "schema", 0);
  const definitions = (root as { readonly $defs?: unknown }).$defs;
  if (definitions === undefined) return;
  if (typeof definitions !== "object" || definitions === null) throw refuse("schema.$defs", "an object");
  for (const [name, part] of Object.entries(definitions)) check(part, `schema.$defs.${name}`, 1);
}

function checkParts(node: Readonly<Record<string, unknown>>, path: string, check: (part: unknown, path: string) => void): void {
  const { properties, additionalProperties, items, prefixItems, required, format } = node;
  if (format !== undefined && !FORMATS.has(format)) throw refuse(path, `format ${JSON.stringify(format)} is not known`);
  if (properties !== undefined) {
    if (typeof properties !== "object" || properties === null) throw refuse(`${path}.properties`, "an object");
    for (const [name, part] of Object.entries(properties)) check(part, `${path}.properties.${name}`);
  }
  const names = Object.keys(properties ?? {});
  if (required !== undefined && !listOf(required, `${path}.required`).every((name) => names.includes(String(name)))) throw refuse(`${path}.required`, "it names what is not in properties");
  if (additionalProperties !== undefined && typeof additionalProperties !== "boolean") check(additionalProperties, `${path}.additionalProperties`);
  if (items !== undefined) check(items, `${path}.items`);
  if (prefixItems !== undefined) for (const [index, part] of listOf(prefixItems, `${path}.prefixItems`).entries()) check(part, `${path}.prefixItems.${String(index)}`);
}

function checkValues(node: Readonly<Record<string, unknown>>, path: string, keys: readonly string[]): void {
  checkKeys(path, keys, ["const", "enum", "type"]);
  const values = "enum" in node ? listOf(node["enum"], `${path}.enum`) : [node["const"]];
  if (values.length === 0 || values.some((value) => typeof value === "object" && value !== null)) throw refuse(path, "values are to be texts, numbers, booleans or null");
}

function checkKeys(path: string, keys: readonly string[], allowed: readonly string[]): void {
  const unknown = keys.find((key) => !allowed.includes(key));
  if (unknown !== undefined) throw refuse(path, `${unknown} cannot be kept to`);
}

function checkReference(path: string, reference: string, root: unknown): void {
  const name = /^#\/\$defs\/([^/]+)$/u.exec(reference)?.[1];
  const definitions = (root as { readonly $defs?: object }).$defs ?? {};
  if (name === undefined || !Object.hasOwn(definitions, name)) throw refuse(path, `${reference} is not among $defs`);
}

function listOf(value: unknown, path: string): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw refuse(path, "a list");
}

function refuse(path: string, why: string): Error {
  return badRequest(FIELD, `${FIELD}: ${path}: ${why}`, "unsupported_schema");
}
