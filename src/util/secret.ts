/**
 * A secret that does not show itself: printing, inspecting or serialising it gives a mark. It also cleans texts that come from
 * somebody who was told the secret.
 */
import { inspect } from "node:util";

const MARK = "[secret]";
/** Shorter ones, such as `none` for a server that wants any key, would take ordinary words out of texts. */
const LENGTH_MIN = 8;
/** Parts of a secret that error messages may not show either. */
const PART_LENGTH = 6;

export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself, for the one place that sends it. */
  reveal(): string {
    return this.#value;
  }

  /** The text without the secret, as it is and in base64. Secrets below 8 characters stay: they are no secrets. */
  removeFrom(text: string): string {
    if (this.#value.length < LENGTH_MIN) return text;
    return this.#forms().reduce((cleaned, form) => cleaned.replaceAll(form, MARK), text);
  }

  /** The same, and parts of it from six characters on: for texts that may be cut anywhere, such as what a server says of a wrong key. */
  removeWithParts(text: string): string {
    if (this.#value.length < LENGTH_MIN) return text;
    const forms = this.#forms();
    const isPart = (part: string) => forms.some((form) => form.includes(part));
    let cleaned = "";
    for (let start = 0; start < text.length; ) {
      let end = start + PART_LENGTH;
      if (end > text.length || !isPart(text.slice(start, end))) {
        cleaned += text.charAt(start++);
        continue;
      }
      while (end < text.length && isPart(text.slice(start, end + 1))) end++;
      cleaned += MARK;
      start = end;
    }
    return cleaned;
  }

  toString(): string {
    return MARK;
  }

  toJSON(): string {
    return MARK;
  }

  [inspect.custom](): string {
    return MARK;
  }

  #forms(): readonly string[] {
    const base64 = Buffer.from(this.#value).toString("base64");
    // What follows it in a longer text changes the last characters of base64.
    return [this.#value, encodeURIComponent(this.#value), base64.replace(/=+$/u, "").slice(0, -1)];
  }
}
