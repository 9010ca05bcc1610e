import { describe, expect, test } from "vitest";
import { describeFailure, exitCodeOf } from "../../../src/cli/failure.js";
import { FedllmError } from "../../../src/errors.js";
import type { ErrorCode } from "../../../src/errors.js";

describe("exit codes", () => {
  test.each<[ErrorCode, number]>([
    ["CONFIG_INVALID", 2],
    ["RUN_NOT_FOUND", 2],
    ["RUN_EXISTS", 2],
    ["CANCELLED", 130],
    ["RUN_LOCKED", 1],
    ["TRAIN_DIVERGED", 1],
    ["DATASET_INVALID", 1],
  ])("%s ends with %i", (code, expected) => {
    expect(exitCodeOf(new FedllmError(code, "x"))).toBe(expected);
  });

  test("a bug ends with 1", () => {
    expect(exitCodeOf(new TypeError("x"))).toBe(1);
    expect(exitCodeOf("thrown text")).toBe(1);
  });
});

describe("the text of a failure", () => {
  test("has the code before each line of the message and a remedy, and no stack", () => {
    const text = describeFailure(new FedllmError("CONFIG_INVALID", "a: wrong\nb: wrong"), { debug: false });
    expect(text.split("\n").slice(0, 2)).toEqual(["error CONFIG_INVALID: a: wrong", "error CONFIG_INVALID: b: wrong"]);
    expect(text).toContain("config schema");
    expect(text).not.toContain("at ");
  });

  test("with debug has the stacks of the error and of its causes", () => {
    const error = new FedllmError("IO_FAILED", "outer", { cause: new Error("inner") });
    const text = describeFailure(error, { debug: true });
    expect(text).toContain("failure.test");
    expect(text).toContain("caused by:");
    expect(text).toContain("inner");
  });

  test("control characters of a message do not reach the terminal", () => {
    expect(describeFailure(new FedllmError("IO_FAILED", "a\u001b[2J"), { debug: false })).not.toContain("\u001b");
  });
});
