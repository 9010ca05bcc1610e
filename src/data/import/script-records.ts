/**
 * Records of scripts of plays and other texts by speaker: paragraphs separated by empty lines, the first line of each the speaker's
 * name and a colon. Each speech answers the one before it, which makes a natural federation of speakers.
 */
import { problemError } from "../../errors.js";
import { MAX_SAMPLE_BYTES } from "../dataset.js";
import { requireUtf8 } from "../stored-bytes.js";
import type { SourceRecord } from "./records.js";

/** A line of at most 80 characters that ends with a colon. */
const SPEAKER = /^(\S.{0,78}):$/u;

interface Speech {
  readonly speaker: string;
  readonly text: string;
}

/** Records {user, instruction, response} in batches; the first speech answers nothing and is a question only. Throws DATASET_INVALID. */
export async function* readScriptRecords(bytes: AsyncIterable<Uint8Array>, path: string): AsyncGenerator<readonly SourceRecord[]> {
  let rest = "";
  let line = 1;
  let previous: Speech | undefined;
  const take = (paragraph: string): SourceRecord[] => {
    const start = line;
    line += paragraph.split("\n").length + 1;
    if (paragraph.trim() === "") return [];
    const speech = readSpeech(paragraph, path, start);
    const asked = previous;
    previous = speech;
    return asked === undefined
      ? []
      : [{ value: { user: speech.speaker, instruction: asked.text, response: speech.text }, position: start }];
  };
  for await (const piece of requireUtf8(bytes, path)) {
    const paragraphs = (rest + Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength).toString("utf8")).split("\n\n");
    rest = paragraphs.pop() ?? "";
    if (rest.length > MAX_SAMPLE_BYTES) throw notScript(path, line, "a longer one");
    const batch = paragraphs.flatMap(take);
    if (batch.length > 0) yield batch;
  }
  const last = take(rest);
  if (last.length > 0) yield last;
}

function readSpeech(paragraph: string, path: string, line: number): Speech {
  const [first = "", ...lines] = paragraph.replaceAll("\r", "").trim().split("\n");
  const speaker = SPEAKER.exec(first)?.[1];
  if (speaker === undefined) throw notScript(path, line, JSON.stringify(first.slice(0, 60)));
  return { speaker, text: lines.join("\n").trim() };
}

function notScript(path: string, line: number, received: string): Error {
  return problemError("DATASET_INVALID", {
    subject: `${path}, line ${String(line)}`,
    expected: "a paragraph that begins with a line of the speaker's name and a colon",
    received,
    remedy: "A .txt file is read as a script of speeches; name other forms .json, .jsonl, .csv, .tsv or .parquet",
  });
}
