import { describe, expect, test } from "vitest";
import {
  displayWidth,
  formatBytes,
  formatCount,
  formatDuration,
  formatMarkdownTable,
  formatTable,
  printable,
  truncateToWidth,
} from "../../../src/report/format.js";

describe("numbers as people read them", () => {
  test.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [99_960, "100 kB"],
    [999_600, "1.0 MB"],
    [13_476_839_424, "13.5 GB"],
  ])("%i bytes are %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test.each([
    [0, "0"],
    [9999, "9999"],
    [12_345, "12.3k"],
    [8_388_608, "8.4M"],
  ])("%i is %s", (value, text) => {
    expect(formatCount(value)).toBe(text);
  });

  test.each([
    [0, "0.0s"],
    [5240, "5.2s"],
    [12_400, "12s"],
    [65_000, "1m05s"],
    [3_725_000, "1h02m"],
  ])("%i ms are %s", (value, text) => {
    expect(formatDuration(value)).toBe(text);
  });
});

describe("widths on a terminal", () => {
  test("East Asian characters take two columns, combining marks none", () => {
    expect(displayWidth("北京")).toBe(4);
    expect(displayWidth("e\u0301")).toBe(1);
    expect(displayWidth("abc")).toBe(3);
  });

  test("a cut text ends in an ellipsis and never exceeds the width", () => {
    expect(truncateToWidth("abcdef", 6)).toBe("abcdef");
    expect(truncateToWidth("abcdef", 4)).toBe("abc…");
    expect(truncateToWidth("北京abc", 4)).toBe("北…");
    expect(truncateToWidth("abc", 0)).toBe("");
  });

  test("control characters cannot reach the terminal", () => {
    expect(printable("a\u001b[2Jb\n")).toBe("a�[2Jb�");
  });
});

describe("tables", () => {
  const columns = [{ title: "n" }, { title: "v", align: "right" as const }];

  test("columns are as wide as their widest cell", () => {
    expect(formatTable(columns, [["ab", "1"], ["北", "100"]])).toEqual(["n     v", "ab    1", "北  100"]);
  });

  test("a bar inside a Markdown cell is escaped", () => {
    expect(formatMarkdownTable(columns, [["a|b", "1"]])).toEqual(["| n | v |", "| --- | --: |", "| a\\|b | 1 |"]);
  });
});
