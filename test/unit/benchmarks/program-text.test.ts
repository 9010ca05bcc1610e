/** What becomes of answers as text; that the programs run and are right is tested with the sandbox (test/integration/humaneval.test.ts). */
import { expect, test } from "vitest";
import { programOf, referenceProgramOf } from "../../../src/benchmarks/program-text.js";
import { readPythonLines } from "../../../src/benchmarks/python-lines.js";

const STUB = { prompt: 'import math\n\ndef half(x):\n    """Half of x."""\n', entryPoint: "half" };

test("a body follows the stub, and ends before what stands to its left", () => {
  expect(programOf(STUB, "    return x / 2\n\ndef other():\n    pass")).toBe(`${STUB.prompt}    return x / 2\n\n`);
  expect(programOf(STUB, "y = x\nreturn y / 2\nSo it is halved.")).toBe(`${STUB.prompt}    y = x\n    return y / 2\n    So it is halved.\n`);
  expect(programOf(STUB, "")).toBe(`${STUB.prompt}\n`);
});

test("a first line that lost its spaces moves alone, unless it opens the block of the next", () => {
  expect(programOf(STUB, "if x:\n        return 1\n    return 0")).toBe(`${STUB.prompt}    if x:\n        return 1\n    return 0\n`);
  expect(programOf(STUB, "if x:\n    return 1\nreturn 0")).toBe(`${STUB.prompt}    if x:\n        return 1\n    return 0\n`);
  expect(programOf(STUB, "y = x\n    return y")).toBe(`${STUB.prompt}    y = x\n    return y\n`);
});

test("stubs indented otherwise give their own measure", () => {
  const narrow = { prompt: "def half(x):\n  'Half of x.'\n", entryPoint: "half" };
  expect(programOf(narrow, "return x / 2")).toBe(`${narrow.prompt}  return x / 2\n`);
  const bare = { prompt: "def half(x):", entryPoint: "half" };
  expect(programOf(bare, "return x / 2")).toBe("def half(x):\n    return x / 2\n");
});

test("a whole function comes after the stub, without words and examples around it", () => {
  const answer = "Of course!\n\nimport os\ndef half(x):\n    text = '''\nnot a statement\n'''\n    return (x\n/ 2)\n\nlimit = 1\nhalf(3)\ndef later(): pass";
  expect(programOf(STUB, answer)).toBe(
    `${STUB.prompt}    pass\n\n\nimport os\ndef half(x):\n    text = '''\nnot a statement\n'''\n    return (x\n/ 2)\n\nlimit = 1\n`,
  );
});

test("a function that only begins like the one asked for is not it", () => {
  expect(programOf(STUB, "    def halfway(y):\n        return y\n    return halfway(x)")).toContain(`${STUB.prompt}    def halfway(y):`);
});

test("the reference's rule keeps the text up to the first blank line and makes indentations even", () => {
  expect(referenceProgramOf(STUB, "\n\n   y = x\n    return y / 2\n\n    never()")).toBe(`${STUB.prompt}    y = x\n    return y / 2`);
});

test("lines within texts, brackets and after a backslash begin no statement", () => {
  const code = `a = """x\ny # """\nb = [1, # (\n2]\nc = 'it''s (' + \\\n"d"\ne = "\\"("\nf = '''\\'''\n'''\n\tg = 'open\nh`;
  const starts = readPythonLines(code).map(({ startsStatement }) => startsStatement);
  expect(starts).toEqual([true, false, true, false, true, false, true, true, false, true, true]);
  expect(readPythonLines("\t x\n    y").map(({ indent }) => indent)).toEqual([9, 4]);
});
