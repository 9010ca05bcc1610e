/**
 * Figures as PNG, for programs and papers that do not take SVG. The renderer (resvg, compiled to WebAssembly) knows neither CSS
 * variables nor media queries, so the light theme is written out before; the font comes with this package, so that a figure has the
 * same bytes on every machine.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import type { CustomFontsOptions, Resvg as SvgPicture } from "@resvg/resvg-wasm";
import { problemError } from "../errors.js";
import { assert } from "../util/assert.js";

/** How large the picture is: one of the two; without, twice the figure's own size. */
export type PngSize = { readonly width: number } | { readonly scale: number };

/** Times the figure's own units, sharp on dense screens and on paper in one column. */
const DEFAULT_SCALE = 2;
const PIXELS_MAX = 64e6;
const SIDE_MAX = 32_767;
const FONT_FAMILY = "DejaVu Sans";

/**
 * Bytes of a PNG file with the figure in its light theme. Latin, Greek, Cyrillic, Arabic and Hebrew letters are drawn, those of other
 * scripts are empty boxes. Throws CONFIG_INVALID for a size that no picture can have and for text that is no SVG.
 */
export async function renderPng(svg: string, size: PngSize = { scale: DEFAULT_SCALE }): Promise<Uint8Array> {
  const { Resvg, font } = await openRenderer();
  const { text, background } = inLightTheme(svg);
  const fitTo = "width" in size ? { mode: "width" as const, value: size.width } : { mode: "zoom" as const, value: size.scale };
  const picture = asFigureError(() => new Resvg(text, { font, fitTo, ...(background === undefined ? {} : { background }) }));
  try {
    checkSize(size, picture);
    const image = picture.render();
    try {
      return image.asPng();
    } finally {
      image.free();
    }
  } finally {
    picture.free();
  }
}

/** What the renderer draws: no rule for other themes, every variable replaced by its value; background: the whole picture's. */
export function inLightTheme(svg: string): { readonly text: string; readonly background?: string } {
  const plain = svg.replaceAll(/<style>(.*?)<\/style>/gsu, (_, style: string) => `<style>${withoutMediaRules(style)}</style>`);
  const variables = new Map([...plain.matchAll(/(--[\w-]+):([^;}]+)/gu)].map((match) => [match[1] ?? "", match[2] ?? ""]));
  const text = plain.replaceAll(/var\((--[\w-]+)\)/gu, (_, name: string) => {
    const value = variables.get(name);
    assert(value !== undefined, `the figure's style has a value for ${name}`);
    return value;
  });
  const background = variables.get("--paper");
  return { text, ...(background === undefined ? {} : { background }) };
}

/** Leaves out `@media … { … }` with all rules inside. */
function withoutMediaRules(style: string): string {
  return style.replaceAll(/@media[^{]*\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}/gu, "");
}

function checkSize(size: PngSize, { width, height }: { readonly width: number; readonly height: number }): void {
  const scale = "width" in size ? size.width / width : size.scale;
  const [across, down] = [width * scale, height * scale];
  if (Math.min(across, down) >= 1 && Math.max(across, down) <= SIDE_MAX && across * down <= PIXELS_MAX) return;
  throw problemError("CONFIG_INVALID", {
    subject: "size of a PNG",
    expected: `1 to ${String(SIDE_MAX)} pixels a side, ${String(PIXELS_MAX)} in all`,
    received: `${across.toFixed(0)} by ${down.toFixed(0)}`,
  });
}

function asFigureError<T>(open: () => T): T {
  try {
    return open();
  } catch (error) {
    const received = error instanceof Error ? error.message : String(error);
    throw problemError("CONFIG_INVALID", { subject: "figure", expected: "a whole SVG", received }, error);
  }
}

interface Renderer {
  readonly Resvg: typeof SvgPicture;
  readonly font: CustomFontsOptions;
}

let opening: Promise<Renderer> | undefined;

/** Loads renderer and font once. */
function openRenderer(): Promise<Renderer> {
  return (opening ??= loadRenderer());
}

async function loadRenderer(): Promise<Renderer> {
  const { resolve } = createRequire(import.meta.url);
  const [{ Resvg, initWasm }, program, font] = await Promise.all([
    import("@resvg/resvg-wasm"),
    readFile(resolve("@resvg/resvg-wasm/index_bg.wasm")),
    readFile(resolve("@fontsource/dejavu-sans/files/dejavu-sans-latin-400-normal.woff2")),
  ]);
  await initWasm(program);
  return { Resvg, font: { fontBuffers: [font], defaultFontFamily: FONT_FAMILY, sansSerifFamily: FONT_FAMILY } };
}
