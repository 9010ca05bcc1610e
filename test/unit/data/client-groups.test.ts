/** Which group a client belongs to: by its samples' field, by language family, by a file; and what is refused. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { groupClients } from "../../../src/data/client-groups.js";
import { parseDatasetText } from "../../../src/data/dataset.js";
import { languageFamily } from "../../../src/data/language-families.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const clients = [
  { id: "ana", attribute: "Spanish" },
  { id: "jo", attribute: "French" },
  { id: "42", attribute: "Telugu" },
];

function writeGroups(value: unknown): string {
  const file = join(makeTemporaryFolder(), "groups.json");
  writeFileSync(file, typeof value === "string" ? value : JSON.stringify(value));
  return file;
}

describe("the attribute of a client", () => {
  const sample = (language?: unknown) => ({ instruction: "q", response: "a", ...(language === undefined ? {} : { language }) });
  const attributesOf = async (data: unknown) => {
    const dataset = await parseDatasetText([Buffer.from(JSON.stringify(data))], "data.json", { attributeField: "language" });
    return dataset.clients.map(({ id, attribute }) => [id, attribute]);
  };

  test("is what most of its good samples say, of equals the first", async () => {
    const bad = { instruction: 5, response: "a", language: "ru" };
    expect(await attributesOf({ a: [sample("es"), sample("fr"), sample("fr"), bad, bad, bad], b: [sample("te"), sample("ar")], c: [sample(), sample(7)] })).toEqual([
      ["a", "fr"],
      ["b", "te"],
      ["c", undefined],
    ]);
  });
});

describe("groups", () => {
  test("by field are the attributes; parts of a held-out file go by client, group or value", async () => {
    const { groupOf, groupNamed } = await groupClients(clients, { by: "field", field: "language" });
    expect([...groupOf]).toEqual([["ana", "Spanish"], ["jo", "French"], ["42", "Telugu"]]);
    expect(["jo", "Telugu", "German"].map((name) => groupNamed(name))).toEqual(["French", "Telugu", undefined]);
  });

  test("by language family put close languages together", async () => {
    const { groupOf, groupNamed } = await groupClients(clients, { by: "languageFamily", field: "language" });
    expect([...groupOf]).toEqual([["ana", "romance"], ["jo", "romance"], ["42", "dravidian"]]);
    expect(["Portuguese", "romance", "English"].map((name) => groupNamed(name))).toEqual(["romance", "romance", undefined]);
  });

  test("by file are what it says, with its hash", async () => {
    const file = writeGroups({ ana: "x", jo: "y", "42": "x", nobody: "z" });
    const { groupOf, sha256, groupNamed } = await groupClients(clients, { by: "file", file });
    expect([...groupOf]).toEqual([["ana", "x"], ["jo", "y"], ["42", "x"]]);
    expect(sha256).toBe(createHash("sha256").update('{"42":"x","ana":"x","jo":"y","nobody":"z"}').digest("hex"));
    expect(["y", "z"].map((name) => groupNamed(name))).toEqual(["y", undefined]);
  });

  test.each([
    [{ ana: "x" }, "DATASET_INVALID", /the group of client "jo"/],
    [{ ana: "x", jo: "", "42": "y" }, "DATASET_INVALID", /1 to 128 characters/],
    [["ana"], "CONFIG_INVALID", /an array/],
    ["{", "CONFIG_INVALID", /expected JSON/],
  ])("a file with %j is refused", async (value, code, message) => {
    const grouping = groupClients(clients, { by: "file", file: writeGroups(value) });
    await expect(grouping).rejects.toMatchObject({ code });
    await expect(grouping).rejects.toThrow(message);
  });

  test("a file that is not there, a client without the field and a language without a family are refused", async () => {
    await expect(groupClients(clients, { by: "file", file: "/nowhere/groups.json" })).rejects.toMatchObject({ code: "IO_FAILED" });
    await expect(groupClients([{ id: "x" }], { by: "field", field: "language" })).rejects.toThrow(/client "x".*by: file/);
    await expect(groupClients([{ id: "x", attribute: "Klingon" }], { by: "languageFamily", field: "language" })).rejects.toThrow(/"Klingon"/);
  });
});

test("the eight languages of Fed-Aya have their families, by name and by code", () => {
  const names = ["English", "Spanish", "French", "Portuguese", "Russian", "Simplified Chinese", "Standard Arabic", "Telugu"];
  const families = ["germanic", "romance", "romance", "romance", "slavic", "sinitic", "semitic", "dravidian"];
  expect(names.map((name) => languageFamily(name))).toEqual(families);
  expect(["en", "spa", "FR", "por", "ru", "zh", "ar", "te"].map((code) => languageFamily(code))).toEqual(families);
});
