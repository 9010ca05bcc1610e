/**
 * The pieces of which figures are made: SVG as text, with its own styles for light and dark, so that a figure looks the same as a file
 * and inside the page. Colours are those of Okabe and Ito, which the colour-blind can tell apart.
 */

/** Width of a figure in its own units, near that of a phone, so that its text stays readable there. */
export const FIGURE_WIDTH = 420;

/** Number of colours before they come again. */
export const NUM_COLOURS = 8;

const STYLE = `
.figure{--ink:#1b1b1b;--faint:#767676;--grid:#dcdcdc;--paper:#fff;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b58900;--c5:#56b4e9;--c6:#e69f00;--c7:#555;background:var(--paper)}
@media (prefers-color-scheme:dark){.figure{--ink:#eee;--faint:#a0a0a0;--grid:#444;--paper:#161616;--c0:#4aa8e0;--c1:#f08040;--c2:#2fc79b;--c3:#e0a0c4;--c4:#d8b02a;--c5:#8fd0f5;--c6:#f5bd45;--c7:#aaa}}
.figure text{font:13px system-ui,sans-serif;fill:var(--ink)}.figure .small{font-size:11px;fill:var(--faint)}.figure .grid{stroke:var(--grid)}
${Array.from({ length: NUM_COLOURS }, (_, index) => `.figure .c${String(index)}{fill:var(--c${String(index)})}.figure .s${String(index)}{stroke:var(--c${String(index)});fill:none}`).join("")}
.figure .axis{stroke:var(--faint);fill:none}.figure .ring{stroke:var(--ink);fill:none}.figure .edge{stroke:var(--paper)}
`.replaceAll("\n", "");

export interface Figure {
  /** Of the file, without an ending. */
  readonly name: string;
  readonly title: string;
  /** What the figure shows, in words, for those who do not see it. */
  readonly description: string;
  readonly svg: string;
}

/** The common style of figures; a page with several has it once. */
export const FIGURE_STYLE = STYLE;

/** The figure without its own style, for a page that has FIGURE_STYLE. */
export function withoutStyle(svg: string): string {
  return svg.replace(/<style>.*?<\/style>/su, "");
}

/** Wraps the content; title and description are read aloud in place of the picture. */
export function makeFigure(name: string, title: string, description: string, height: number, content: string): Figure {
  const ids = `${name}-title ${name}-description`;
  const svg =
    `<svg class="figure" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${String(FIGURE_WIDTH)} ${number(height)}" role="img" aria-labelledby="${ids}">` +
    `<title id="${name}-title">${escapeText(title)}</title><desc id="${name}-description">${escapeText(description)}</desc><style>${STYLE}</style>${content}</svg>`;
  return { name, title, description, svg };
}

/** A text that is safe inside SVG and HTML, in attributes as well; characters that XML does not know are replaced. */
export function escapeText(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cs}\u{FFFE}\u{FFFF}]/gu, "\u{FFFD}")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** A name that fits under or beside something, the last character an ellipsis when it was cut. */
export function shorten(text: string, length: number): string {
  const characters = Array.from(text);
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join("")}…`;
}

/** At most two decimals, as attributes need no more. */
export function number(value: number): string {
  return String(Math.round(value * 100) / 100);
}

export function textAt(x: number, y: number, text: string, options: { readonly anchor?: "start" | "middle" | "end"; readonly small?: boolean } = {}): string {
  const { anchor = "start", small = false } = options;
  return `<text x="${number(x)}" y="${number(y)}" text-anchor="${anchor}"${small ? ' class="small"' : ""}>${escapeText(text)}</text>`;
}

/** A faint line from top to bottom, for reading values off. */
export function gridLine(x: number, top: number, bottom: number): string {
  return `<path class="grid" d="M${number(x)} ${number(top)}V${number(bottom)}"/>`;
}

/** A box with a tooltip. */
export function box(area: { readonly x: number; readonly y: number; readonly width: number; readonly height: number }, colour: number, tooltip: string, opacity = 1): string {
  const { x, y, width, height } = area;
  const faint = opacity === 1 ? "" : ` fill-opacity="${number(opacity)}"`;
  return `<rect class="c${String(colour % NUM_COLOURS)}" x="${number(x)}" y="${number(y)}" width="${number(width)}" height="${number(height)}"${faint}><title>${escapeText(tooltip)}</title></rect>`;
}

/** How a series is told from others: by colour, and lines by their dashes as well. */
export interface SeriesStyle {
  readonly colour: number;
  /** 0: a full line. */
  readonly dash: number;
}

const DASHES: readonly string[] = ["", "6 3", "2 3", "8 3 2 3"];

/** Everything that belongs to one series; a page can hide it. */
export function seriesGroup(label: string, content: string): string {
  return `<g data-series="${escapeText(label)}">${content}</g>`;
}

/** A line through points in the colour of its series. */
export function polyline(points: readonly (readonly [x: number, y: number])[], { colour, dash }: SeriesStyle, width = 2): string {
  const pattern = DASHES[dash % DASHES.length] ?? "";
  const steps = points.map(([x, y], index) => `${index === 0 ? "M" : "L"}${number(x)} ${number(y)}`).join("");
  return `<path class="s${String(colour % NUM_COLOURS)}" stroke-width="${number(width)}" stroke-linejoin="round"${pattern === "" ? "" : ` stroke-dasharray="${pattern}"`} d="${steps}"/>`;
}

/** A filled shape through points, faint, in the colour of its series. */
export function area(points: readonly (readonly [x: number, y: number])[], { colour }: SeriesStyle): string {
  const steps = points.map(([x, y], index) => `${index === 0 ? "M" : "L"}${number(x)} ${number(y)}`).join("");
  return `<path class="c${String(colour % NUM_COLOURS)}" fill-opacity="0.15" d="${steps}Z"/>`;
}

/** A disc with a tooltip; series that differ in their dashes have other forms: disc, square, diamond, and a disc with a hole. */
export function marker(x: number, y: number, { colour, dash }: SeriesStyle, tooltip: string, radius = 4): string {
  const title = `<title>${escapeText(tooltip)}</title>`;
  const paint = `class="c${String(colour % NUM_COLOURS)} edge"`;
  const form = dash % DASHES.length;
  if (form === 0) return `<circle ${paint} cx="${number(x)}" cy="${number(y)}" r="${number(radius)}">${title}</circle>`;
  if (form === 3) return `<circle class="s${String(colour % NUM_COLOURS)}" stroke-width="2" cx="${number(x)}" cy="${number(y)}" r="${number(radius - 1)}">${title}</circle>`;
  const half = radius * 0.88;
  const turned = form === 2 ? ` transform="rotate(45 ${number(x)} ${number(y)})"` : "";
  return `<rect ${paint} x="${number(x - half)}" y="${number(y - half)}" width="${number(2 * half)}" height="${number(2 * half)}"${turned}>${title}</rect>`;
}
