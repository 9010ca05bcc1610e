/** An analysis as rows of analysis.sqlite. */
import type { SampleFindings } from "./describe.js";
import { difficultyOf } from "./quality.js";
import type { AnalysisReport } from "./report.js";
import type { Row, StoredAnalysis } from "./store.js";

/** The rows of all tables; findings in the order of clients and samples. */
export function toRows(report: AnalysisReport, findings: readonly SampleFindings[]): StoredAnalysis {
  const { path, sha256 } = report.dataset;
  return {
    datasets: [{ path, sha256, report_json: JSON.stringify(report) }],
    clients: report.clients.map((client, index) => ({
      client_index: index,
      id: client.id,
      num_samples: client.numSamples,
      main_language: client.languages[0]?.name ?? null,
      language_distance: client.distances?.language ?? null,
      instruction_length_distance: client.distances?.instructionLength ?? null,
      response_length_distance: client.distances?.responseLength ?? null,
      mean_ifd: client.quality?.ifd?.mean ?? null,
    })),
    samples: findings.map((finding) => sampleRow(finding)),
    client_pairs: pairRows(report),
  };
}

function sampleRow({ clientIndex, sampleIndex, hash, text, tokens, difficulty, projected }: SampleFindings): Row {
  const losses = difficulty === undefined || "skipped" in difficulty ? undefined : difficulty;
  return {
    client_index: clientIndex,
    sample_index: sampleIndex,
    sample_sha256: hash,
    language: text.language,
    verb: text.type?.verb ?? null,
    object: text.type?.object ?? null,
    instruction_characters: text.instructionCharacters,
    response_characters: text.responseCharacters,
    rejected_characters: text.rejectedCharacters ?? null,
    instruction_tokens: tokens?.instruction ?? null,
    response_tokens: tokens?.response ?? null,
    rejected_tokens: tokens?.rejected ?? null,
    loss_given_instruction: losses?.lossGivenInstruction ?? null,
    loss_alone: losses?.lossAlone ?? null,
    ifd: difficultyOf(difficulty) ?? null,
    pca_x: projected?.pca[0] ?? null,
    pca_y: projected?.pca[1] ?? null,
    umap_x: projected?.umap?.[0] ?? null,
    umap_y: projected?.umap?.[1] ?? null,
  };
}

function pairRows({ similarity }: AnalysisReport): Row[] {
  const { clients, languageDistance, instructionLengthDistance, responseLengthDistance, embeddingSimilarity, centredSimilarity } = similarity;
  return clients.flatMap((leftIndex, left) =>
    clients.slice(left + 1).map((rightIndex, offset) => {
      const right = left + 1 + offset;
      return {
        left_index: leftIndex,
        right_index: rightIndex,
        language_distance: languageDistance[left]?.[right] ?? 0,
        instruction_length_distance: instructionLengthDistance[left]?.[right] ?? 0,
        response_length_distance: responseLengthDistance[left]?.[right] ?? 0,
        embedding_similarity: embeddingSimilarity?.[left]?.[right] ?? null,
        centred_similarity: centredSimilarity?.[left]?.[right] ?? null,
      };
    }),
  );
}
