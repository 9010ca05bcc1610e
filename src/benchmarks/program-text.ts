/**
 * The program in a model's answer to a stub of a function. `code` takes what models of today say: fences, whole functions, bodies with or
 * without their indentation, words before and examples after. `reference` is the post-processing of the benchmark's evaluation, for
 * numbers to be compared with: up to the first blank line, indentations made even.
 */
import { indentOf, readPythonLines } from "./python-lines.js";
import type { PythonLine } from "./python-lines.js";

export interface Stub {
  /** Code up to the head of the function and its description. */
  readonly prompt: string;
  readonly entryPoint: string;
}

const DEFAULT_INDENT = 4;
/** Statements that a module is made of; others after the function are examples and words. */
const MODULE_STATEMENT = /^(?:async\s+def|def|class|import|from)\s|^@|^[A-Za-z_][\w.]*(?:\s*:[^=]+)?\s*=(?!=)|^#/u;

/** The source that is run: stub and answer put together. */
export function programOf(stub: Stub, answer: string): string {
  const code = fencedCode(answer, stub.entryPoint) ?? answer;
  if (definitionOf(stub.entryPoint).test(code)) return withFunction(stub, code);
  return joined(stub.prompt, cutAfterBody(indentBody(code, bodyIndentOf(stub.prompt)), bodyIndentOf(stub.prompt)));
}

/** The same by the reference's rule. Its evaluation makes each line's indentation a multiple of two by adding spaces. */
export function referenceProgramOf({ prompt }: Stub, answer: string): string {
  const [body = ""] = answer.replace(/^\n+/u, "").split("\n\n");
  const lines = body.split("\n").map((line) => {
    const numSpaces = line.length - line.trimStart().length;
    return numSpaces % 2 === 0 ? line : ` ${line}`;
  });
  return prompt + lines.join("\n");
}

const definitionOf = (name: string): RegExp => new RegExp(`^[ \\t]*(?:async\\s+)?def\\s+${name}\\s*\\(`, "mu");

/** The fenced block with the function, else the first one; undefined without a fence. A block that was cut off ends with the answer. */
function fencedCode(answer: string, entryPoint: string): string | undefined {
  const blocks = [...answer.matchAll(/^[ \t]*(?:```|~~~)[^\n`]*\n([\s\S]*?)(?:^[ \t]*(?:```|~~~)[^\n]*$|$(?![\s\S]))/gmu)].map(([, code = ""]) => code);
  return blocks.find((code) => definitionOf(entryPoint).test(code)) ?? blocks[0];
}

/** A whole function replaces the stub, whose imports and helpers stay. */
function withFunction({ prompt, entryPoint }: Stub, code: string): string {
  const lines = dedent(readPythonLines(code), entryPoint);
  const definition = definitionOf(entryPoint);
  const isOfModule = ({ text, indent, isBlank, startsStatement }: PythonLine): boolean =>
    isBlank || indent > 0 || !startsStatement || MODULE_STATEMENT.test(text);
  const first = lines.findIndex((line) => !line.isBlank && line.indent === 0 && line.startsStatement && MODULE_STATEMENT.test(line.text) && !line.text.startsWith("#"));
  const start = first < 0 ? 0 : first;
  const head = lines.findIndex((line) => line.startsStatement && definition.test(line.text));
  const end = lines.findIndex((line, index) => index > head && !isOfModule(line));
  // Words between the first statement and the function can only be left out line by line.
  const kept = lines.slice(start, end < 0 ? lines.length : end).filter((line, index) => index + start >= head || isOfModule(line));
  return `${prompt.trimEnd()}\n${" ".repeat(bodyIndentOf(prompt))}pass\n\n\n${kept.map(({ text }) => text).join("\n")}\n`;
}

/** Takes from all lines what stands before the function's own head, as far as they have it. */
function dedent(lines: readonly PythonLine[], entryPoint: string): readonly PythonLine[] {
  const head = lines.find((line) => definitionOf(entryPoint).test(line.text));
  const margin = head === undefined ? "" : head.text.slice(0, head.text.length - head.text.trimStart().length);
  if (margin === "") return lines;
  return readPythonLines(lines.map(({ text }) => (text.startsWith(margin) ? text.slice(margin.length) : text)).join("\n"));
}

/** Columns that the body of the stub's last function has. */
function bodyIndentOf(prompt: string): number {
  const lines = readPythonLines(prompt).filter(({ isBlank, startsStatement }) => !isBlank && startsStatement);
  const head = lines.findLastIndex(({ text }) => /^\s*(?:async\s+)?def\s/u.test(text));
  const first = lines[head + 1];
  return first === undefined || first.indent === 0 ? (lines[head]?.indent ?? 0) + DEFAULT_INDENT : first.indent;
}

/**
 * Gives a body the indentation it needs. Answers lose their first spaces to the splitting of tokens and to trimming, so a first line that
 * stands too far left moves alone where the others are in place, and with them where they are not.
 */
function indentBody(code: string, wanted: number): string {
  const lines = readPythonLines(code);
  const start = lines.findIndex(({ isBlank }) => !isBlank);
  const [first, ...others] = lines.slice(Math.max(0, start));
  if (first === undefined || first.indent === wanted) return [first, ...others].map((line) => line?.text ?? "").join("\n");
  const isInPlace = others.find(({ isBlank, startsStatement }) => !isBlank && startsStatement);
  const movesAlone = isInPlace !== undefined && isInPlace.indent >= wanted && first.indent < wanted && !opensBlock(first, isInPlace, wanted);
  const shift = wanted - first.indent;
  return [first, ...others]
    .map((line, index) => (line.isBlank || (index > 0 && movesAlone) ? line.text : shifted(line.text, shift)))
    .join("\n");
}

/** Whether the second line is one step inside the first as both stand, so that they move together. */
function opensBlock(first: PythonLine, second: PythonLine, wanted: number): boolean {
  return /:\s*(?:#.*)?$/u.test(first.text) && second.indent <= first.indent + DEFAULT_INDENT && second.indent <= wanted;
}

function shifted(text: string, shift: number): string {
  if (shift >= 0) return " ".repeat(shift) + text;
  const indent = indentOf(text);
  return " ".repeat(Math.max(0, indent + shift)) + text.trimStart();
}

/** The body ends before the first statement that stands outside of it. */
function cutAfterBody(code: string, indent: number): string {
  const lines = readPythonLines(code);
  const end = lines.findIndex((line) => !line.isBlank && line.startsStatement && line.indent < indent);
  return lines.slice(0, end < 0 ? lines.length : end).map(({ text }) => text).join("\n");
}

function joined(prompt: string, body: string): string {
  return `${prompt}${prompt.endsWith("\n") ? "" : "\n"}${body}\n`;
}
