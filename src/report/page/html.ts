/** HTML as text. Whatever comes from a run goes through `text`; only what this folder makes is markup. */
import { createHash } from "node:crypto";
import { escapeText } from "../../figures/svg.js";

/** Safe in elements and in quoted attributes; control characters are replaced. */
export const text = escapeText;

export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** An element; attributes are escaped, content is markup. `true` is an attribute without a value. */
export function element(name: string, attributes: Attributes, ...content: readonly string[]): string {
  const written = Object.entries(attributes).flatMap(([key, value]) => (value === undefined || value === false ? [] : value === true ? [` ${key}`] : [` ${key}="${text(String(value))}"`]));
  return `<${name}${written.join("")}>${content.join("")}</${name}>`;
}

/** JSON that no text in it can end early, for an element of type application/json. */
export function embedJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029");
}

/** The source expression that allows exactly this inline style or script. */
export function contentHash(content: string): string {
  return `'sha256-${createHash("sha256").update(content, "utf8").digest("base64")}'`;
}

/** A relative address of which each part is escaped. */
export function relativeHref(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}
