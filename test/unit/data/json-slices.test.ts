/**
 * Goal: a text is cut into the same samples however its bytes arrive, broken text is refused with the byte that is wrong,
 * and no more than one sample is held. Method: through the reader, which adds nothing to where text is cut.
 */
import { describe, expect, it } from "vitest";
import { parseDatasetText } from "../../../src/data/dataset.js";
import type { FederatedDataset, ReadDatasetOptions } from "../../../src/data/dataset.js";

type Parsed = Omit<FederatedDataset, "sha256">;

/** Parses a text in pieces of this many bytes. */
function parse(
  text: string | Uint8Array,
  name = "clients.json",
  options: ReadDatasetOptions = {},
  pieceBytes = 7,
): Promise<Parsed> {
  const bytes = Buffer.from(text as string);
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceBytes) }, (_, index) =>
    bytes.subarray(index * pieceBytes, (index + 1) * pieceBytes),
  );
  return parseDatasetText(pieces, name, options);
}

const qa = (instruction: string, response: string): object => ({ instruction, response });
const pair = { prompt: "p", chosen: "c", rejected: "r" };

describe("files that are refused", () => {
  const good = '[{"instruction":"a","response":"b"}]';
  const hostile: readonly (readonly [string, string | Uint8Array, string])[] = [
    ["an empty file", "", "byte 0: expected an object of users or an array of samples, received the end of the file"],
    ["white space", " \n ", "byte 3"],
    ["a bare value", "42", 'byte 0: expected an object of users or an array of samples, received "4"'],
    ["no sample", "[]", "expected at least one good sample, received none"],
    ["no user", "{}", "expected at least one good sample, received none"],
    [
      "only bad samples",
      '[{"instruction":"a"}]',
      'none, and 1 problems; the first is user "clients", sample 0, byte 1: response',
    ],
    [
      "a text cut inside a sample",
      '{"u":[{"instruction":"a","respo',
      "byte 31: expected the rest of the value, received the end of the file inside the value that begins at byte 6",
    ],
    [
      "a text cut between samples",
      '{"u":[{"instruction":"a","response":"b"}',
      'byte 40: expected "," or "]", received the end of the file',
    ],
    ["a text cut after a user id", '{"u"', 'byte 4: expected a ":" after the user id'],
    [
      "a text after the end",
      `${good} x`,
      'byte 37: expected the end of the file after the outer bracket, received more text: "x"',
    ],
    ["a second document", `${good}\n${good}`, "byte 37"],
    ["a trailing comma", '[{"instruction":"a","response":"b"},]', "byte 36: expected a value"],
    ["a missing value", '{"u":,"v":[]}', "byte 5: expected a value"],
    ["a key without quotation marks", "{u:[]}", "byte 1: expected a user id in quotation marks"],
    [
      "crossed brackets",
      '[{"instruction":"a","response":"b"],{}]',
      "byte 1: expected a JSON value that begins here, received malformed JSON",
    ],
    [
      "two values without a comma",
      '[{"instruction":"a","response":"b"}{}]',
      'byte 35: expected "," or "]", received "{"',
    ],
    ["control characters in a string", '[{"instruction":"a\u0001","response":"b"}]', "byte 1: expected a JSON value"],
    ["too deep nesting", `[${"[".repeat(65)}${"]".repeat(65)}]`, "byte 65: expected at most 64 nested brackets"],
    [
      "bytes that are no UTF-8",
      Buffer.concat([Buffer.from('[{"instruction":"é'), Buffer.from([0xc3, 0x28]), Buffer.from('"}]')]),
      "byte 19: expected UTF-8 text",
    ],
    [
      "a surrogate encoded as UTF-8",
      Buffer.concat([Buffer.from('["'), Buffer.from([0xed, 0xa0, 0x80]), Buffer.from('"]')]),
      "byte 2: expected UTF-8 text",
    ],
    [
      "a cut character before the end",
      Buffer.concat([Buffer.from('["ab'), Buffer.from([0xef, 0xbf]), Buffer.from('"]')]),
      "byte 4: expected UTF-8 text",
    ],
    [
      "a user id that is no UTF-8",
      Buffer.concat([Buffer.from('{"'), Buffer.from([0xff]), Buffer.from('":[]}')]),
      "byte 2: expected UTF-8 text",
    ],
    ["UTF-16", Buffer.from(`\uFEFF${good}`, "utf16le"), "byte 0"],
    ["a broken byte order mark", Buffer.from([0xef, 0xbb, 0x5b]), "byte 2: expected UTF-8 text"],
  ];

  it.each(hostile)("names the byte for %s, however the text is cut", async (_, text, message) => {
    for (const pieceBytes of [1, 2, 3, 4096]) {
      await expect(parse(text, "clients.json", {}, pieceBytes)).rejects.toMatchObject({
        code: "DATASET_INVALID",
        message: expect.stringContaining(message) as string,
      });
    }
  });

  it("refuses a file that mixes kinds of samples and names the first other one", async () => {
    await expect(parse(JSON.stringify({ u: [qa("a", "b")], v: [qa("a", "b"), pair] }))).rejects.toMatchObject({
      code: "DATASET_INVALID",
      message: expect.stringMatching(
        /user "v", sample 1: expected a single-turn sample .* received a preference sample/,
      ) as string,
    });
  });

  it("refuses a sample above the size limit before it is complete", async () => {
    let numPieces = 0;
    function* endless(): Generator<Uint8Array> {
      yield Buffer.from('[{"instruction":"');
      for (;;) {
        numPieces++;
        yield Buffer.alloc(100, "a");
      }
    }
    await expect(parseDatasetText(endless(), "x.json", { maxSampleBytes: 1000 })).rejects.toMatchObject({
      code: "DATASET_INVALID",
      message: expect.stringContaining("byte 1: expected at most 1000 bytes") as string,
    });
    expect(numPieces).toBeLessThan(12);
  });

  it("names the line's byte in JSON Lines", async () => {
    await expect(parse(`${JSON.stringify(qa("a", "b"))}\n{"instruction"`, "x.jsonl")).rejects.toMatchObject({
      message: expect.stringContaining("x.jsonl, byte 35: expected a JSON value") as string,
    });
  });

  it("says that JSON Lines must carry their name", async () => {
    const text = `${JSON.stringify(qa("a", "b"))}\n${JSON.stringify(qa("a", "b"))}`;
    await expect(parse(text, "x.json")).rejects.toThrow("must be named .jsonl");
  });
});

describe("streaming", () => {
  const awkward = {
    'quote " and \\ back': [qa('é\\"}]{[,:', "\u2028 😀 \\u0041"), qa("", "{")],
    ключ: [qa("\t\n", "]"), qa("a", "\\")],
  };

  it("gives the same for every way to cut the text", async () => {
    for (const space of [undefined, 2]) {
      const text = JSON.stringify(awkward, undefined, space);
      const whole = await parse(text, "x.json", {}, 1_000_000);
      expect(whole.clients).toEqual(
        Object.entries(awkward).map(([id, samples]) => ({
          id,
          samples: samples.map((sample) => ({ kind: "single-turn", ...sample })),
        })),
      );
      for (let pieceBytes = 1; pieceBytes <= 17; pieceBytes++)
        expect(await parse(text, "x.json", {}, pieceBytes)).toEqual(whole);
    }
  });

  it("reads no further than the sample it reports, and holds no sample that the caller refuses", async () => {
    const sample = Buffer.from(`${JSON.stringify(qa("a", "b".repeat(100_000)))},`);
    const numSamples = 1000;
    let numPieces = 0;
    function* pieces(): Generator<Uint8Array> {
      yield Buffer.from('{"u":[');
      for (let index = 0; index < numSamples - 1; index++) {
        numPieces++;
        yield Buffer.from(sample);
      }
      yield sample.subarray(0, sample.length - 1);
      yield Buffer.from("]}");
    }
    const heldBytes = (): number => process.memoryUsage().heapUsed + process.memoryUsage().external;
    const before = heldBytes();
    let leastHeldBytes = Infinity;
    let mostAhead = 0;
    const dataset = await parseDatasetText(pieces(), "x.json", {
      onSample: (_, { index }) => {
        mostAhead = Math.max(mostAhead, numPieces - (index + 1));
        if (index >= numSamples - 250) leastHeldBytes = Math.min(leastHeldBytes, heldBytes() - before);
        return false;
      },
    });
    expect(dataset).toMatchObject({ numSamples, clients: [{ id: "u", samples: [] }] });
    expect(mostAhead).toBeLessThanOrEqual(1);
    // 75 MB have passed by then. What is held for good shows in every measurement, garbage only in those before a collection.
    expect(leastHeldBytes).toBeLessThan(40_000_000);
  });
});
