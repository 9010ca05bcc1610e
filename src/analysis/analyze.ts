/**
 * Analyzes client data: findings of every sample, sums of them for each client and for all, and comparisons of clients. Results are
 * one report (report.ts), its file and the rows of analysis.sqlite; what was computed before is taken from there.
 */
import { basename, join } from "node:path";
import type { FederatedDataset } from "../data/dataset.js";
import { assert } from "../util/assert.js";
import { renderPng } from "../figures/png.js";
import { makeFolder, writeFileAtomic } from "../util/atomic-file.js";
import { CLIENT_LIMITS, describeAll, describeGroup } from "./describe.js";
import type { SampleFindings } from "./describe.js";
import { drawFigures } from "./figures/figures.js";
import { renderPage } from "./figures/page.js";
import { planModel, seeWithModel } from "./model-findings.js";
import type { AnalysisModel, ModelOptions, ModelPlan } from "./model-findings.js";
import { runPass } from "./pass.js";
import type { AnalysisProgress, PassContext } from "./pass.js";
import { REPORT_VERSION } from "./report.js";
import type { Point } from "./principal-components.js";
import type { AnalysisReport, ProjectedSample } from "./report.js";
import { toRows } from "./rows.js";
import { groupByClient, listSamples } from "./samples.js";
import type { AnalyzedSample } from "./samples.js";
import { compareClients, distancesBetween, largestClients, profileOf } from "./similarity.js";
import { AnalysisStore } from "./store.js";
import { textPass, tokenPass } from "./text-measures.js";

export interface AnalyzeOptions extends ModelOptions {
  /** Folder of the results; it is made. */
  readonly out: string;
  /** Name of the data set in the report; default: that of the file. */
  readonly name?: string;
  /** Absent: only what the text shows. */
  readonly model?: AnalysisModel;
  readonly onProgress?: (progress: AnalysisProgress) => void;
  /** Aborting rejects with CANCELLED; the next call goes on from there. */
  readonly signal?: AbortSignal;
}

export interface AnalyzeResult {
  readonly report: AnalysisReport;
  readonly jsonPath: string;
  readonly databasePath: string;
  /** The page with all figures, which are also files of their own, SVG and PNG, below `figures`. */
  readonly pagePath: string;
}

/** Rejects with CANCELLED, CONFIG_INVALID, METRICS_INVALID (a file in the way), IO_FAILED and what the model rejects with. */
export async function analyzeDataset(dataset: FederatedDataset, options: AnalyzeOptions): Promise<AnalyzeResult> {
  const plan = options.model === undefined ? undefined : planModel(dataset, options.model, options);
  await makeFolder(options.out);
  const databasePath = join(options.out, "analysis.sqlite");
  const jsonPath = join(options.out, "analysis.json");
  const store = new AnalysisStore(databasePath);
  try {
    const { onProgress, signal } = options;
    const { findings, explained } = await findAll(listSamples(dataset), plan, { store, onProgress, signal });
    const report = makeReport(dataset, options.name ?? basename(dataset.path), findings, { plan, explained });
    store.replaceAnalysis(toRows(report, findings));
    await writeFileAtomic(jsonPath, `${JSON.stringify(report, null, 2)}\n`);
    return { report, jsonPath, databasePath, pagePath: await writeFigures(report, options.out) };
  } finally {
    store.close();
  }
}

async function findAll(samples: readonly AnalyzedSample[], plan: ModelPlan | undefined, context: PassContext) {
  const texts = await runPass(samples, textPass, context);
  const tokens = plan === undefined ? [] : await runPass(samples, tokenPass(plan.model.tokenizer, plan.model.sha256), context);
  const seen = plan?.inference === undefined ? undefined : await seeWithModel(samples, plan.inference, context);
  const findings = samples.map((sample, index): SampleFindings => {
    const { clientIndex, sampleIndex, hash } = sample;
    const [text, counts] = [texts[index], tokens[index]];
    assert(text !== undefined, "a pass gives a finding for every sample");
    return { clientIndex, sampleIndex, hash, text, ...(counts === undefined ? {} : { tokens: counts }), ...seen?.findings.get(sample) };
  });
  return { findings, explained: seen?.explained };
}

async function writeFigures(report: AnalysisReport, out: string): Promise<string> {
  const figures = drawFigures(report);
  const folder = join(out, "figures");
  await makeFolder(folder);
  for (const { name, svg } of figures) {
    await writeFileAtomic(join(folder, `${name}.svg`), `${svg}\n`);
    await writeFileAtomic(join(folder, `${name}.png`), [await renderPng(svg)]);
  }
  const pagePath = join(out, "index.html");
  await writeFileAtomic(pagePath, renderPage(report, figures));
  return pagePath;
}

interface ReportParts {
  readonly plan: ModelPlan | undefined;
  readonly explained: Point | undefined;
}

function makeReport(dataset: FederatedDataset, name: string, findings: readonly SampleFindings[], { plan, explained }: ReportParts): AnalysisReport {
  const { path, sha256, kind, clients, numProblems } = dataset;
  const byClient = groupByClient(findings);
  const findingsOf = (index: number) => byClient.get(index) ?? [];
  const profiles = clients.map((_, index) => profileOf(findingsOf(index)));
  const whole = profileOf(findings);
  const sizes = clients.map(({ samples }) => samples.length);
  return {
    version: REPORT_VERSION,
    dataset: { name, path, sha256, kind, numClients: clients.length, numProblems },
    ...(plan === undefined ? {} : { model: plan.report }),
    overall: describeAll(findings, sizes),
    clients: clients.map(({ id }, index) => {
      const own = findingsOf(index);
      const profile = profiles[index];
      const hasDistances = own.length > 0 && profile !== undefined;
      return { id, ...describeGroup(own, CLIENT_LIMITS), ...(hasDistances ? { distances: distancesBetween(profile, whole) } : {}) };
    }),
    similarity: compareClients(profiles, whole, largestClients(sizes)),
    ...(explained === undefined ? {} : { projection: { explained, points: pointsOf(findings) } }),
  };
}

function pointsOf(findings: readonly SampleFindings[]): ProjectedSample[] {
  return findings.flatMap(({ clientIndex, sampleIndex, projected }) => (projected === undefined ? [] : [{ clientIndex, sampleIndex, ...projected }]));
}
