/** What the redrawing block writes, checked on a small screen that understands the few codes it uses. */
import { describe, expect, test } from "vitest";
import { RedrawingBlock } from "../../../src/cli/terminal.js";

/** A screen of unlimited height that wraps at its width and obeys cursor up, carriage return and erase below. */
class SmallScreen {
  columns: number;
  rows = 24;
  written = "";
  #lines: string[] = [""];
  #row = 0;

  constructor(columns: number) {
    this.columns = columns;
  }

  write(text: string): boolean {
    this.written += text;
    for (const [token] of text.matchAll(/\u001b\[\??\d*[A-Za-z]|\r|\n|[^\u001b\r\n]+/g)) this.#obey(token);
    return true;
  }

  /** Lines as they stand, without the empty one below the cursor. */
  get shown(): string[] {
    return this.#lines.slice(0, this.#row);
  }

  /** Wraps what is on the screen to a new width, as terminals do when they are resized. */
  resize(columns: number): void {
    const below = this.#lines.slice(0, this.#row).flatMap((line) => wrap(line, columns));
    this.#lines = [...below, ""];
    this.#row = below.length;
    this.columns = columns;
  }

  #obey(token: string): void {
    const up = /^\u001b\[(\d+)A$/.exec(token);
    if (up !== null) this.#row = Math.max(0, this.#row - Number(up[1]));
    else if (token === "\u001b[0J") this.#lines = [...this.#lines.slice(0, this.#row), ""];
    else if (token === "\n") {
      this.#row += 1;
      this.#lines[this.#row] ??= "";
    } else if (!token.startsWith("\u001b") && token !== "\r") {
      const pieces = wrap(token, this.columns);
      for (const [index, piece] of pieces.entries()) {
        if (index > 0) this.#row += 1;
        this.#lines[this.#row] = piece;
      }
    }
  }
}

function wrap(line: string, columns: number): string[] {
  const pieces = line.match(new RegExp(`.{1,${String(columns)}}`, "g"));
  return pieces ?? [""];
}

describe("redrawing", () => {
  test("a new frame replaces the old one, also when it is shorter", () => {
    const screen = new SmallScreen(20);
    const block = new RedrawingBlock(screen);
    block.draw(["one", "two", "three"]);
    block.draw(["ONE"]);
    expect(screen.shown).toEqual(["ONE"]);
  });

  test("a printed line stays above the frame", () => {
    const screen = new SmallScreen(20);
    const block = new RedrawingBlock(screen);
    block.draw(["frame 1"]);
    block.printAbove("note");
    block.draw(["frame 2"]);
    expect(screen.shown).toEqual(["note", "frame 2"]);
  });

  test("after the terminal got narrower nothing of the old frame is left", () => {
    const screen = new SmallScreen(20);
    const block = new RedrawingBlock(screen);
    block.draw(["0123456789abcdef", "second"]);
    screen.resize(5);
    block.draw(["new"]);
    expect(screen.shown).toEqual(["new"]);
  });

  test("the cursor is hidden while drawing and given back once", () => {
    const screen = new SmallScreen(20);
    const block = new RedrawingBlock(screen);
    block.draw(["a"]);
    block.finish();
    block.finish();
    expect(screen.written.split("\u001b[?25l")).toHaveLength(2);
    expect(screen.written.split("\u001b[?25h")).toHaveLength(2);
  });

  test("a terminal that does not know its size counts as 80 by 24", () => {
    const block = new RedrawingBlock({ columns: 0, rows: 0, write: () => true });
    expect(block.size).toEqual({ columns: 80, rows: 24 });
  });
});
