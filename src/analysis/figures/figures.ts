/** The figures of an analysis. Those about single clients show the largest ones and say so. */
import type { AnalysisReport, ClientReport, LengthName } from "../report.js";
import { barChart, matrixChart, pointChart, quartileChart, shareChart } from "../../figures/charts.js";
import { NUM_COLOURS } from "../../figures/svg.js";
import type { Figure } from "../../figures/svg.js";

const CLIENTS_MAX = 30;
/** Clients in a figure of points, as many as colours and forms can tell apart at a glance. */
const POINT_CLIENTS_MAX = 10;
const MATRIX_CLIENTS_MAX = 24;

interface HistogramChoice {
  readonly length: LengthName;
  readonly side: string;
  readonly unit: "characters" | "tokens";
}

const HISTOGRAMS: readonly HistogramChoice[] = (["Characters", "Tokens"] as const).flatMap((counted) => {
  const unit = counted === "Characters" ? "characters" : "tokens";
  return [
    { length: `instruction${counted}`, side: "instruction", unit },
    { length: `response${counted}`, side: "response", unit },
    { length: `rejected${counted}`, side: "rejected response", unit },
  ] as const;
});

/** All figures for which there is something to show. */
export function drawFigures(report: AnalysisReport): Figure[] {
  const largest = [...report.clients].sort((left, right) => right.numSamples - left.numSamples).slice(0, CLIENTS_MAX);
  const which = largest.length < report.clients.length ? `the ${String(largest.length)} largest of ${String(report.clients.length)} clients` : `all ${String(largest.length)} clients`;
  return [
    drawQuantity(largest, which),
    drawLanguages(report, largest, which),
    ...HISTOGRAMS.flatMap((choice) => drawHistogram(report, choice)),
    ...(["instruction", "response"] as const).map((side) => drawLengths(largest, which, side)),
    ...drawTypes(report),
    ...drawQuality(largest, which),
    ...drawPreferences(report),
    ...drawSimilarity(report),
    ...drawProjections(report),
  ];
}

function drawQuantity(clients: readonly ClientReport[], which: string): Figure {
  const description = `Bars: number of samples of ${which}, from ${String(clients[0]?.numSamples ?? 0)} down to ${String(clients.at(-1)?.numSamples ?? 0)}.`;
  return barChart({ name: "quantity", title: "Samples per client", description }, clients.map(({ id, numSamples }) => ({ label: id, value: numSamples, shown: String(numSamples) })));
}

function drawLanguages({ overall }: AnalysisReport, clients: readonly ClientReport[], which: string): Figure {
  const isWhole = overall.languages.length <= NUM_COLOURS;
  const named = overall.languages.slice(0, isWhole ? NUM_COLOURS : NUM_COLOURS - 1).map(({ name }) => name);
  const series = isWhole ? named : [...named, "other"];
  const rows = clients.map(({ id, languages, numSamples }) => {
    const shares = named.map((name) => (languages.find((entry) => entry.name === name)?.count ?? 0) / Math.max(1, numSamples));
    const rest = Math.max(0, (numSamples > 0 ? 1 : 0) - shares.reduce((sum, share) => sum + share, 0));
    return { label: id, shares: isWhole ? shares : [...shares, rest] };
  });
  const list = overall.languages.slice(0, NUM_COLOURS).map(({ name, count }) => `${name} ${((100 * count) / Math.max(1, overall.numSamples)).toFixed(1)}%`);
  return shareChart({ name: "languages", title: "Languages by client", description: `Shares of languages, guessed from the text, of ${which}. All samples: ${list.join(", ")}.` }, series, rows);
}

function drawHistogram({ overall }: AnalysisReport, { length, side, unit }: HistogramChoice): Figure[] {
  const bins = overall.lengthHistograms[length];
  if (bins === undefined) return [];
  const count = bins.reduce((sum, bin) => sum + bin.count, 0);
  const bars = bins.map(({ from, to, count: value }) => ({
    label: to - from === 1 ? String(from) : `${String(from)}–${String(to - 1)}`,
    value,
    shown: `${String(value)} (${((100 * value) / count).toFixed(1)}%)`,
  }));
  const description = `Bars: number of all ${String(count)} samples by the length of the ${side} in ${unit}.`;
  return [barChart({ name: `${side.replace(" ", "-")}-${unit}`, title: `Samples by length of the ${side}, in ${unit}`, description }, bars)];
}

function drawLengths(clients: readonly ClientReport[], which: string, side: "instruction" | "response"): Figure {
  const rows = clients.flatMap((client) => {
    const quartiles = client[`${side}Characters`];
    return quartiles === undefined ? [] : [{ label: client.id, quartiles }];
  });
  const description = `Length of the ${side}s in characters of ${which}: line, all; box, the middle half; mark and number, the median.`;
  return quartileChart({ name: `${side}-length`, title: `Length of ${side}s by client, in characters`, description }, rows);
}

function drawTypes({ overall }: AnalysisReport): Figure[] {
  const { verbs, numTyped } = overall.instructionTypes;
  if (verbs.length === 0) return [];
  const bars = verbs.map(({ verb, count, objects }) => ({ label: verb, value: count, shown: `${String(count)} ${objects[0]?.name ?? ""}` }));
  const description = `Bars: most frequent verbs and question words of instructions, by word lists and in English only, so approximate; found in ${String(numTyped)} of ${String(overall.numSamples)} samples. Beside each its most frequent object.`;
  return [barChart({ name: "instruction-types", title: "Instruction types (approximate)", description }, bars)];
}

function drawQuality(clients: readonly ClientReport[], which: string): Figure[] {
  const bars = clients.flatMap(({ id, quality }) => (quality?.ifd === undefined ? [] : [{ label: id, value: quality.ifd.mean, shown: quality.ifd.mean.toFixed(2) }]));
  if (bars.length === 0) return [];
  const description = `Bars: mean Instruction-Following Difficulty of ${which}; above 1 the instruction does not help the model to find the answer.`;
  return [barChart({ name: "quality", title: "Mean instruction-following difficulty by client", description }, bars)];
}

function drawPreferences({ overall }: AnalysisReport): Figure[] {
  const known = (overall.preferences ?? []).filter(({ numPairs }) => numPairs > 0);
  if (known.length === 0) return [];
  const bars = known.map(({ property, numPairs, numChosen }) => ({ label: property, value: numChosen / numPairs, shown: `${((100 * numChosen) / numPairs).toFixed(0)}%` }));
  const description = "Bars: of the pairs whose answers differ in a property, the share in which the chosen answer has it; 50% is no preference.";
  return [barChart({ name: "preferences", title: "What chosen answers have", description }, bars)];
}

function drawSimilarity({ similarity, clients }: AnalysisReport): Figure[] {
  const shown = similarity.clients
    .map((client, place) => ({ place, size: clients[client]?.numSamples ?? 0, label: clients[client]?.id ?? "" }))
    .sort((left, right) => right.size - left.size)
    .slice(0, MATRIX_CLIENTS_MAX)
    .sort((left, right) => left.place - right.place);
  if (shown.length < 2) return [];
  const labels = shown.map(({ label }) => label);
  const cut = (matrix: readonly (readonly number[])[]) => shown.map((row) => shown.map((column) => matrix[row.place]?.[column.place] ?? 0));
  const draw = (name: string, title: string, matrix: readonly (readonly number[])[], most?: number) => {
    const values = cut(matrix);
    const scale = most ?? Math.max(...values.flat());
    return matrixChart({ name, title, description: `Shades for each two of ${String(labels.length)} clients, from none at 0 to full at ${scale.toFixed(2)}.` }, labels, values, scale);
  };
  const { languageDistance, responseLengthDistance, centredSimilarity } = similarity;
  return [
    draw("language-distance", "Distance between clients by language (0 to 1)", languageDistance, 1),
    draw("response-length-distance", "Distance between clients by response length (doublings)", responseLengthDistance),
    ...(centredSimilarity === undefined ? [] : [draw("embedding-similarity", "Likeness of clients' instructions (cosine, mean subtracted; no colour at 0 and below)", centredSimilarity, 1)]),
  ];
}

function drawProjections({ projection, clients }: AnalysisReport): Figure[] {
  if (projection === undefined) return [];
  const sizes = new Map<number, number>();
  for (const { clientIndex } of projection.points) sizes.set(clientIndex, (sizes.get(clientIndex) ?? 0) + 1);
  const shown = [...sizes].sort((left, right) => right[1] - left[1] || left[0] - right[0]).slice(0, POINT_CLIENTS_MAX).map(([client]) => client);
  const series = shown.map((client) => clients[client]?.id ?? "");
  const pointsOf = (kind: "pca" | "umap") =>
    projection.points.flatMap((point) => {
      const place = point[kind];
      const index = shown.indexOf(point.clientIndex);
      return place === undefined || index < 0 ? [] : [{ x: place[0], y: place[1], series: index }];
    });
  const which = `Points: instructions of ${String(shown.length)} of ${String(clients.length)} clients; near ones are alike to the model.`;
  const [first, second] = projection.explained.map((share) => `${(100 * share).toFixed(0)}%`);
  const umap = pointsOf("umap");
  return [
    pointChart({ name: "pca", title: `Instructions by PCA (${first ?? ""} and ${second ?? ""} of the variance)`, description: which }, series, pointsOf("pca")),
    ...(umap.length === 0 ? [] : [pointChart({ name: "umap", title: "Instructions by UMAP", description: which }, series, umap)]),
  ];
}
