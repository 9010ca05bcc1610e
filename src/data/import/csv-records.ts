/** Records of CSV and TSV files: the first line names the columns, or the caller does. Values stay text. */
import { Readable } from "node:stream";
import { CsvError, parse } from "csv-parse";
import { problemError } from "../../errors.js";
import { MAX_SAMPLE_BYTES } from "../dataset.js";
import { requireUtf8 } from "../stored-bytes.js";
import type { SourceRecord } from "./records.js";

export interface CsvOptions {
  readonly delimiter: string;
  readonly columns?: readonly string[];
  readonly maxRecordBytes?: number;
}

const BATCH_RECORDS = 256;

/** The records in batches; empty lines are skipped. Throws DATASET_INVALID with the line of a mistake. */
export async function* readCsvRecords(
  bytes: AsyncIterable<Uint8Array>,
  path: string,
  { delimiter, columns, maxRecordBytes = MAX_SAMPLE_BYTES }: CsvOptions,
): AsyncGenerator<readonly SourceRecord[]> {
  const source = Readable.from(requireUtf8(bytes, path));
  const parser = parse({
    bom: true,
    delimiter,
    info: true,
    skip_empty_lines: true,
    max_record_size: maxRecordBytes,
    columns: columns === undefined ? (header: string[]) => checkHeader(header, path) : checkHeader(columns, path),
  });
  source.on("error", (error) => parser.destroy(error));
  let batch: SourceRecord[] = [];
  try {
    for await (const { record, info } of source.pipe(parser) as AsyncIterable<{ record: unknown; info: { lines: number } }>) {
      batch.push({ value: record, position: info.lines });
      if (batch.length < BATCH_RECORDS) continue;
      yield batch;
      batch = [];
    }
  } catch (error) {
    throw error instanceof CsvError ? csvError(error, path) : error;
  } finally {
    source.destroy();
    parser.destroy();
  }
  if (batch.length > 0) yield batch;
}

function checkHeader(header: readonly string[], path: string): string[] {
  const repeated = header.find((name, index) => header.indexOf(name) !== index || name === "__proto__");
  if (repeated === undefined) return [...header];
  throw problemError("DATASET_INVALID", {
    subject: `${path}, first line`,
    expected: "a different name for each column",
    received: `${JSON.stringify(repeated)} twice, or a name that cannot be used`,
    remedy: "Name the columns with --columns if the file has no such line",
  });
}

function csvError(error: CsvError, path: string): Error {
  const lines: unknown = error["lines"];
  const line = typeof lines === "number" ? `, line ${String(lines)}` : "";
  return problemError("DATASET_INVALID", { subject: `${path}${line}`, expected: "well-formed CSV", received: error.message }, error);
}
