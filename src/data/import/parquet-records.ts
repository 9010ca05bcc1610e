/**
 * Records of Parquet files, one row group at a time and only the columns that are needed. Integers of 64 bits become numbers where
 * those are exact and text otherwise, times become ISO 8601 text. Compression: all codecs of hyparquet-compressors.
 */
import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";
import type { AsyncBuffer, FileMetaData, RowGroup } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { FedllmError, problemError } from "../../errors.js";
import type { ReadRecordsOptions, SourceRecord } from "./records.js";

/** Most bytes of the needed columns of a row group, which must be in memory at once; usual files have 1 to 100 MB. */
export const MAX_ROW_GROUP_BYTES = 128 * 2 ** 20;
const HASH_PIECE_BYTES = 2 ** 20;

/** The rows in batches of one row group each. Throws DATASET_INVALID for damaged files and row groups that are too large, IO_FAILED. */
export async function* readParquetRecords(
  path: string,
  { file, fields }: Pick<ReadRecordsOptions, "file" | "fields">,
): AsyncGenerator<readonly SourceRecord[]> {
  const handle = await openForReading(path);
  try {
    const { size } = await handle.stat();
    await hashWhole(handle, file);
    const buffer: AsyncBuffer = { byteLength: size, slice: (start, end) => readSlice(handle, start, end ?? size) };
    const metadata = await attempt(path, () => parquetMetadataAsync(buffer));
    const names = parquetSchema(metadata).children.map(({ element }) => element.name);
    const columns = fields === undefined ? names : names.filter((name) => fields.has(name));
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      checkSize(path, group, columns, rowStart);
      const rows = await attempt(path, () => readRows(buffer, metadata, { columns, rowStart, rowEnd }));
      yield rows.map((row, index) => ({ value: toPlain(row), position: rowStart + index }));
      rowStart = rowEnd;
    }
  } finally {
    await handle.close();
  }
}

async function readRows(
  file: AsyncBuffer,
  metadata: FileMetaData,
  range: { readonly columns: string[]; readonly rowStart: number; readonly rowEnd: number },
): Promise<readonly unknown[]> {
  // No known column: records of no fields, which is what the caller then complains about.
  if (range.columns.length === 0) return Array.from({ length: range.rowEnd - range.rowStart }, () => ({}));
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  return parquetReadObjects({ file, metadata, compressors, ...range, parsers: { stringFromBytes: (bytes: Uint8Array) => decoder.decode(bytes) } });
}

function checkSize(path: string, group: RowGroup, columns: readonly string[], rowStart: number): void {
  const bytes = group.columns.reduce((sum, { meta_data: data }) => {
    return data !== undefined && columns.includes(data.path_in_schema[0] ?? "") ? sum + Number(data.total_uncompressed_size) : sum;
  }, 0);
  if (bytes <= MAX_ROW_GROUP_BYTES) return;
  throw problemError("DATASET_INVALID", {
    subject: `${path}, row group at row ${String(rowStart)}`,
    expected: `at most ${String(MAX_ROW_GROUP_BYTES)} bytes in the needed columns of one row group`,
    received: String(bytes),
    remedy: "Write the file again with smaller row groups, for example row_group_size=1000 in pyarrow",
  });
}

async function openForReading(path: string): Promise<FileHandle> {
  return open(path, "r").catch((error: unknown) => {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("IO_FAILED", { subject: path, expected: "a readable file", received }, error);
  });
}

async function readSlice(handle: FileHandle, start: number, end: number): Promise<ArrayBuffer> {
  const bytes = new Uint8Array(Math.max(0, end - start));
  let filled = 0;
  while (filled < bytes.length) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) throw new Error(`the file ends at byte ${String(start + filled)}, before ${String(end)}`);
    filled += bytesRead;
  }
  return bytes.buffer;
}

async function hashWhole(handle: FileHandle, file: ReadRecordsOptions["file"]): Promise<void> {
  const piece = Buffer.alloc(HASH_PIECE_BYTES);
  for (;;) {
    const { bytesRead } = await handle.read(piece, 0, piece.length, file.numBytes);
    if (bytesRead === 0) return;
    file.hash.update(piece.subarray(0, bytesRead));
    file.numBytes += bytesRead;
  }
}

/** What the reader throws about a damaged file has no type of its own. */
async function attempt<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof FedllmError) throw error;
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("DATASET_INVALID", { subject: path, expected: "a whole Parquet file of UTF-8 text", received }, error);
  }
}

/** The value as JSON could have it. */
function toPlain(value: unknown): unknown {
  if (typeof value === "bigint") return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString();
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return undefined;
  if (Array.isArray(value)) return value.map(toPlain);
  if (typeof value === "object" && value !== null) return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, toPlain(inner)]));
  return value;
}
