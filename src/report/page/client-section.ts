/** Clients on the page: one table with a line each, and the data of which the page makes a view of every client. */
import { formatBytes } from "../format.js";
import type { ClientLine, Study, StudyMetric } from "../study/study.js";
import { element, text } from "./html.js";

/** Arrays instead of objects, and numbers to five digits, since there may be thousands of clients. */
export interface ClientData {
  readonly arms: readonly string[];
  readonly metrics: readonly { readonly title: string; readonly factor: number; readonly digits: number; readonly higherIsBetter: boolean | null }[];
  /** Id, group, samples, and by arm: place of the arm, rounds, failures, tokens, bytes sent, train loss, before and after by metric. */
  readonly clients: readonly (readonly [string, string | null, number | null, readonly (readonly unknown[])[]])[];
}

export function clientData(study: Study): ClientData {
  const metrics = clientMetrics(study);
  const arms = study.arms.map(({ arm }) => arm);
  return {
    arms,
    metrics: metrics.map(({ title, displayFactor, digits, higherIsBetter }) => ({ title, factor: displayFactor, digits, higherIsBetter: higherIsBetter ?? null })),
    clients: byClient(study).map(([id, lines]) => [id, lines.find(({ group }) => group !== undefined)?.group ?? null, samplesOf(lines), lines.map((line) => armEntry(line, arms, metrics))]),
  };
}

function armEntry(line: ClientLine, arms: readonly string[], metrics: readonly StudyMetric[]): unknown[] {
  const values = metrics.map(({ metric }) => {
    const found = line.values.find((value) => value.metric === metric);
    return found === undefined ? null : [found.before === undefined ? null : short(found.before), short(found.value)];
  });
  const { arm, numRounds, numFailures, numTokens, uploadBytes, trainLoss } = line;
  return [arms.indexOf(arm), numRounds, numFailures, numTokens, formatBytes(uploadBytes), trainLoss === undefined ? null : short(trainLoss), values];
}

function short(value: number): number {
  return Number(value.toPrecision(5));
}

function clientMetrics({ metrics, clients }: Study): StudyMetric[] {
  return metrics.filter(({ metric }) => clients.some(({ values }) => values.some((value) => value.metric === metric)));
}

function byClient({ clients }: Study): (readonly [string, ClientLine[]])[] {
  const lines = new Map<string, ClientLine[]>();
  for (const line of clients) lines.set(line.clientId, [...(lines.get(line.clientId) ?? []), line]);
  const collator = new Intl.Collator("en", { numeric: true });
  return [...lines].sort(([left], [right]) => collator.compare(left, right));
}

function samplesOf(lines: readonly ClientLine[]): number | null {
  return lines.find(({ numExamples }) => numExamples !== undefined)?.numExamples ?? null;
}

/** A line per client with the first metric that clients have, by arm; names lead to the clients' views. */
export function renderClients(study: Study): string {
  const [metric] = clientMetrics(study);
  const lines = byClient(study);
  if (metric === undefined || lines.length === 0) return "";
  const arms = study.arms.map(({ arm }) => arm).filter((arm) => study.clients.some((line) => line.arm === arm && line.values.length > 0));
  const heads = ["client", "samples"].map((title, index) => element("th", { scope: "col", class: index === 0 ? undefined : "number" }, element("button", { type: "button" }, title)));
  const armHeads = arms.map((arm) => element("th", { scope: "col", class: "number", "data-series": arm }, element("button", { type: "button" }, text(arm))));
  const body = lines.map(([id, mine], index) => {
    const samples = samplesOf(mine);
    const cells = arms.map((arm) => {
      const found = mine.find((line) => line.arm === arm)?.values.find((value) => value.metric === metric.metric);
      const shown = found === undefined ? "-" : (found.value * metric.displayFactor).toFixed(metric.digits);
      const before = found?.before === undefined ? undefined : `before training: ${(found.before * metric.displayFactor).toFixed(metric.digits)}`;
      return element("td", { class: "number", "data-value": found === undefined ? "" : short(found.value), title: before, "data-series": arm }, shown);
    });
    const name = element("th", { scope: "row" }, element("a", { href: `#client=${String(index)}` }, text(id)));
    return element("tr", {}, name, element("td", { class: "number", "data-value": samples ?? "" }, samples === null ? "-" : String(samples)), ...cells);
  });
  return (
    element("h3", { id: "table-clients-title" }, `${text(metric.title)} of each client, on its own held-out data`) +
    element(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "table-clients-title" },
      element("table", { id: "table-clients" }, element("thead", {}, element("tr", {}, ...heads, ...armHeads)), element("tbody", {}, ...body)),
    ) +
    element("ul", { class: "notes" }, element("li", {}, "Means over seeds. A client's name leads to everything that is known of it."))
  );
}
