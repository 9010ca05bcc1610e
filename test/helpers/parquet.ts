/** Small Parquet files in the forms that data sets are published in. */
import { writeFileSync } from "node:fs";
import { parquetWriteBuffer } from "hyparquet-writer";
import type { SchemaElement } from "hyparquet";

export interface Column {
  readonly name: string;
  readonly data: readonly unknown[];
  readonly type?: "STRING" | "INT64" | "TIMESTAMP" | "BOOLEAN";
  /** A list of messages instead of a plain value. */
  readonly isConversation?: boolean;
}

/** Writes columns of equal length; `rowGroupSize` rows are one row group. */
export function writeParquet(path: string, columns: readonly Column[], rowGroupSize = 1000): void {
  const schema: SchemaElement[] = [{ name: "root", num_children: columns.length }, ...columns.flatMap(schemaOf)];
  const columnData = columns.map(({ name, data }) => ({ name, data: [...data] }));
  writeFileSync(path, Buffer.from(parquetWriteBuffer({ columnData, schema, rowGroupSize })));
}

function schemaOf({ name, type = "STRING", isConversation = false }: Column): SchemaElement[] {
  if (isConversation) {
    return [
      { name, repetition_type: "OPTIONAL", num_children: 1, converted_type: "LIST" },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      { name: "element", repetition_type: "OPTIONAL", num_children: 2 },
      { name: "content", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
      { name: "role", type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" },
    ];
  }
  if (type === "INT64") return [{ name, type: "INT64", repetition_type: "OPTIONAL" }];
  if (type === "BOOLEAN") return [{ name, type: "BOOLEAN", repetition_type: "OPTIONAL" }];
  if (type === "TIMESTAMP") return [{ name, type: "INT64", converted_type: "TIMESTAMP_MILLIS", repetition_type: "OPTIONAL" }];
  return [{ name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: "OPTIONAL" }];
}
