/** An analysis as rows of analysis.sqlite. */
import type { SampleFindings } from "./describe.js";
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
      mean_ifd: null,
    })),
    samples: findings.map((finding) => sampleRow(finding)),
    client_pairs: pairRows(report),
  };
}

function sampleRow({ clientIndex, sampleIndex, hash, text, tokens }: SampleFindings): Row {
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
    loss_given_instruction: null,
    loss_alone: null,
    ifd: null,
    pca_x: null,
    pca_y: null,
    umap_x: null,
    umap_y: null,
  };
}

function pairRows({ similarity }: AnalysisReport): Row[] {
  const { clients, languageDistance, instructionLengthDistance, responseLengthDistance } = similarity;
  return clients.flatMap((leftIndex, left) =>
    clients.slice(left + 1).map((rightIndex, offset) => {
      const right = left + 1 + offset;
      return {
        left_index: leftIndex,
        right_index: rightIndex,
        language_distance: languageDistance[left]?.[right] ?? 0,
        instruction_length_distance: instructionLengthDistance[left]?.[right] ?? 0,
        response_length_distance: responseLengthDistance[left]?.[right] ?? 0,
        embedding_similarity: null,
      };
    }),
  );
}
