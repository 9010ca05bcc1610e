/** How an arm looks in figures, as a small picture beside its name. */
import { marker, polyline } from "../../figures/svg.js";
import type { SeriesStyle } from "../../figures/svg.js";

export function renderSwatch(style: SeriesStyle | undefined): string {
  if (style === undefined) return "";
  return `<svg class="figure" viewBox="0 0 26 14" aria-hidden="true">${polyline([[0, 7], [26, 7]], style)}${marker(13, 7, style, "", 4).replace(/<title>.*?<\/title>/u, "")}</svg>`;
}
