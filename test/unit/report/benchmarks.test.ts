/** Goal: what `eval` and the privacy ledger keep beside a run comes into the study, whole and of the right arm only. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { EvaluationStore } from "../../../src/benchmarks/store.js";
import { epsilonOfEvents } from "../../../src/privacy/accounting/accountant.js";
import { PrivacyLedger } from "../../../src/privacy/ledger.js";
import { renderPage } from "../../../src/report/page/page.js";
import { buildStudy } from "../../../src/report/study/build.js";
import { closeRuns, openRuns } from "../../../src/report/study/source.js";
import { tablesOf } from "../../../src/report/study/tables.js";
import { writeRun } from "../../helpers/study-runs.js";
import { makeTemporaryFolder } from "../../helpers/temporary-folder.js";

const ARMS = [
  { name: "f16-fedavg", losses: [3, 2], weightBytes: 1000 },
  { name: "q4-fedavg", precision: "Q4_K_M", losses: [3, 2.1], weightBytes: 250 },
];

async function studyOf(folders: readonly string[]) {
  const runs = await openRuns(folders);
  try {
    return buildStudy(runs);
  } finally {
    closeRuns(runs);
  }
}

interface GivenResult {
  readonly label: string;
  readonly arm?: string;
  readonly round?: number;
  readonly clientId?: string;
  readonly values: readonly number[];
  /** More items than have answers. */
  readonly numMissing?: number;
}

function writeResults(folder: string, results: readonly GivenResult[]): void {
  const store = new EvaluationStore(join(folder, "evaluation.sqlite"));
  const measures = [{ measure: "accuracy", title: "accuracy", summary: "mean" as const, displayFactor: 100, higherIsBetter: true }];
  for (const { values, numMissing = 0, ...subject } of results) {
    const adapterSha256 = subject.label;
    store.saveSubject({ ...subject, modelName: "m", modelSha256: "m", adapterSha256 });
    const key = { modelSha256: "m", adapterSha256, metric: "quiz", settings: {}, itemsSha256: "i", numItems: values.length + numMissing, seed: 0, versions: {} };
    const id = store.openEvaluation(key, { title: "Quiz", measures }, new Date(0));
    const answer = { turns: [], numPromptTokens: 1, numTokens: 1 };
    store.keepAnswers(id, values.map((_, seq) => ({ seq, item: { id: String(seq) }, answer, durationMs: 1 })));
    const grading = store.openGrading(id, {});
    for (const [seq, value] of values.entries()) store.keepScores(grading, seq, [{ measure: "accuracy", value }]);
  }
  store.close();
}

test("complete results of whole arms and of the base come in, with intervals over items for one seed and over seeds for several", async () => {
  const parent = makeTemporaryFolder();
  const [first = "", second = ""] = [1, 2].map((seed) => writeRun(join(parent, String(seed)), { seed, arms: ARMS }));
  writeResults(first, [
    { label: "base F16", values: [0, 0, 0, 1] },
    { label: "f16-fedavg", arm: "f16-fedavg", round: 1, values: [1, 1, 0, 1] },
    { label: "q4-fedavg", arm: "q4-fedavg", round: 1, values: [1, 0, 0, 1] },
    // An earlier round, one client's adapter, and one that was stopped.
    { label: "f16-fedavg@0", arm: "f16-fedavg", round: 0, values: [0, 0, 0, 0] },
    { label: "f16-fedavg/ana", arm: "f16-fedavg", round: 1, clientId: "ana", values: [0, 0, 0, 0] },
    { label: "stopped", values: [1], numMissing: 3 },
  ]);
  const one = await studyOf([first]);
  expect(one.benchmarks.map(({ arm, value, over }) => [arm, value.mean, over])).toEqual([
    ["base F16", 0.25, "items"],
    ["f16-fedavg", 0.75, "items"],
    ["q4-fedavg", 0.5, "items"],
  ]);
  expect(one.benchmarkComparisons).toMatchObject([{ first: "q4-fedavg", second: "f16-fedavg", wins: 0, losses: 1, difference: { mean: -0.25, count: 4 }, pValue: 1 }]);
  writeResults(second, [{ label: "f16-fedavg", arm: "f16-fedavg", round: 1, values: [0, 0, 0, 1] }]);
  const both = await studyOf([first, second]);
  // 0.75 and 0.25.
  expect(both.benchmarks.find(({ arm }) => arm === "f16-fedavg")).toMatchObject({ over: "seeds", value: { count: 2, mean: 0.5, min: 0.25, max: 0.75 } });
  const html = renderPage(both, { hrefOf: () => undefined });
  expect(html).toContain('id="benchmarks"');
  expect(html).not.toContain('id="privacy"');
});

test("what arms with differential privacy spent is shown, with the warning that figures of clients are not covered", async () => {
  const folder = writeRun(join(makeTemporaryFolder(), "run"), { seed: 1, arms: ARMS });
  const claim = { accountantVersion: 1, accountant: "pld", sampling: "poisson", numClients: 100, cohortSize: 10, numRounds: 2, noiseMultiplier: 1, clipNorm: 1, adaptiveClipping: false, exampleCap: null, delta: 1e-5, epsilon: 8, hasStartAdapter: false };
  const ledger = new PrivacyLedger(join(folder, "privacy.sqlite"));
  ledger.beginArm({ name: "f16-fedavg", fingerprint: "f", isInsecure: false, claim: JSON.stringify(claim) }, () => new Uint8Array(32));
  const sink = ledger.sinkOf("f16-fedavg", { delta: 1e-5, accountant: "pld", epsilon: 8 }, () => new Date(0));
  for (const round of [1, 2]) sink.charge({ round, sampling: "poisson", sampleRate: 0.1, noiseMultiplier: 1 }, String(round), 1);
  ledger.close();
  const study = await studyOf([folder]);
  const expected = epsilonOfEvents([{ sampling: "poisson", sampleRate: 0.1, noiseMultiplier: 1, count: 2 }], 1e-5, "pld");
  expect(study.privacy).toMatchObject([{ arm: "f16-fedavg", delta: 1e-5, budget: 8, numReleases: 2, isInsecure: false }]);
  // The accountant composes the same two events; its grid gives the same bits.
  expect(study.privacy[0]?.epsilon).toBeCloseTo(expected, 6);
  expect(study.notes.some((note) => note.includes("Do not publish them"))).toBe(true);
  expect(tablesOf(study).map(({ name }) => name)).toContain("privacy");
  expect(renderPage(study, { hrefOf: () => undefined })).toContain('id="privacy"');
});
