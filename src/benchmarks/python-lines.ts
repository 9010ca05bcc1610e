/** Lines of Python as far as their layout goes: which begin a statement, and how far they are indented. Nothing is parsed. */

export interface PythonLine {
  readonly text: string;
  /** Columns before the first character, a tab reaching the next multiple of 8 as in Python. */
  readonly indent: number;
  readonly isBlank: boolean;
  /** False within a text of three quotes, within brackets and after a backslash. */
  readonly startsStatement: boolean;
}

/** Splits code at line ends. */
export function readPythonLines(code: string): PythonLine[] {
  const state: LineState = { quote: undefined, depth: 0, isContinued: false };
  return code.split(/\r?\n/u).map((text) => {
    const startsStatement = state.quote === undefined && state.depth === 0 && !state.isContinued;
    skipLine(text, state);
    return { text, indent: indentOf(text), isBlank: text.trim() === "", startsStatement };
  });
}

export function indentOf(text: string): number {
  let column = 0;
  for (const character of text) {
    if (character === " ") column++;
    else if (character === "\t") column += 8 - (column % 8);
    else break;
  }
  return column;
}

interface LineState {
  /** The three quotes that an open text ends with. */
  quote: string | undefined;
  /** Open brackets. */
  depth: number;
  isContinued: boolean;
}

function skipLine(text: string, state: LineState): void {
  state.isContinued = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index] ?? "";
    if (character === "\\") {
      // Outside of texts only the last character of a line may be one.
      if (index === text.length - 1 && state.quote === undefined) state.isContinued = true;
      index++;
    } else if (state.quote !== undefined) {
      if (text.startsWith(state.quote, index)) {
        index += state.quote.length - 1;
        state.quote = undefined;
      }
    } else if (character === "#") {
      return;
    } else if (character === '"' || character === "'") {
      index = openText(text, index, state);
    } else if ("([{".includes(character)) {
      state.depth++;
    } else if (")]}".includes(character)) {
      state.depth = Math.max(0, state.depth - 1);
    }
  }
}

/** Position of the last character that a text takes on this line. */
function openText(text: string, start: number, state: LineState): number {
  const quote = text[start] ?? "";
  if (text.startsWith(quote.repeat(3), start)) {
    state.quote = quote.repeat(3);
    return start + 2;
  }
  for (let index = start + 1; index < text.length; index++) {
    if (text[index] === "\\") index++;
    else if (text[index] === quote) return index;
  }
  // A text of one line that is not closed is a mistake; it ends with the line.
  return text.length;
}
