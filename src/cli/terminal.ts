/**
 * Redraws a block of lines at the bottom of a terminal with cursor moves. Lines printed meanwhile go above the block.
 * Survives resizing: the rows to go up are counted for the width the terminal has now, since it wrapped the old lines.
 */
import { displayWidth } from "../report/format.js";

/** What is needed of a terminal stream; process.stdout and process.stderr fit. */
export interface TerminalStream {
  readonly columns?: number;
  readonly rows?: number;
  write(text: string): boolean;
}

const ESCAPE = "\u001b[";
const HIDE_CURSOR = `${ESCAPE}?25l`;
const SHOW_CURSOR = `${ESCAPE}?25h`;
const STYLE_CODES = /\u001b\[[0-9;]*m/g;

/** Size assumed for a terminal that does not tell its own. */
const DEFAULT_COLUMNS = 80;
const DEFAULT_ROWS = 24;

export class RedrawingBlock {
  readonly #stream: TerminalStream;
  #drawn: readonly string[] = [];
  #started = false;

  constructor(stream: TerminalStream) {
    this.#stream = stream;
  }

  get size(): { readonly columns: number; readonly rows: number } {
    // A terminal may report 0 columns, for example under `script` without a window.
    const { columns = 0, rows = 0 } = this.#stream;
    return { columns: columns > 0 ? columns : DEFAULT_COLUMNS, rows: rows > 0 ? rows : DEFAULT_ROWS };
  }

  /** Replaces the block by these lines, in one write so that it does not flicker. */
  draw(lines: readonly string[]): void {
    const start = this.#started ? "" : HIDE_CURSOR;
    this.#started = true;
    this.#stream.write(start + this.#eraseText() + lines.map((line) => `${line}\n`).join(""));
    this.#drawn = lines;
  }

  /** Prints a lasting line above the block. */
  printAbove(line: string): void {
    const block = this.#drawn;
    this.#stream.write(`${this.#eraseText()}${line}\n${block.map((text) => `${text}\n`).join("")}`);
  }

  /** Leaves the last drawing on the screen and gives the cursor back. Safe to call twice. */
  finish(): void {
    if (!this.#started) return;
    this.#stream.write(SHOW_CURSOR);
    this.#started = false;
    this.#drawn = [];
  }

  #eraseText(): string {
    if (this.#drawn.length === 0) return "";
    const { columns } = this.size;
    const rows = this.#drawn.reduce((sum, line) => {
      const width = displayWidth(line.replaceAll(STYLE_CODES, ""));
      return sum + Math.max(1, Math.ceil(width / columns));
    }, 0);
    return `${ESCAPE}${String(rows)}A\r${ESCAPE}0J`;
  }
}
