/**
 * The tables of analysis.sqlite. What was found of single samples is kept by the hash of their texts, so that it is computed once;
 * the other tables are the last analysis, replaced as a whole. A change of the tables is a new version, and older files are refused:
 * they hold nothing that cannot be computed again.
 */

/** Marks a file as ours in `application_id`: the letters FDLA. */
export const APPLICATION_ID = 0x46444c41;

export const SCHEMA_VERSION = 1;

export const SCHEMA = `
  CREATE TABLE findings (
    analysis TEXT NOT NULL,                   -- what was computed, with everything that it depends on beside the text
    sample_sha256 TEXT NOT NULL,              -- of the sample's texts
    value ANY NOT NULL,                       -- JSON text; vectors: little-endian F32
    PRIMARY KEY (analysis, sample_sha256)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE datasets (
    path TEXT NOT NULL PRIMARY KEY,
    sha256 TEXT NOT NULL,
    report_json TEXT NOT NULL CHECK (json_valid(report_json))       -- as in analysis.json
  ) STRICT;

  CREATE TABLE clients (
    client_index INTEGER NOT NULL PRIMARY KEY,  -- place in the file, from 0
    id TEXT NOT NULL,
    num_samples INTEGER NOT NULL,
    main_language TEXT,                       -- ISO 639-1, or und
    language_distance REAL,                   -- total variation from all samples
    instruction_length_distance REAL,         -- Wasserstein distance from all samples, in doublings
    response_length_distance REAL,
    mean_ifd REAL
  ) STRICT;

  CREATE TABLE samples (
    client_index INTEGER NOT NULL REFERENCES clients (client_index),
    sample_index INTEGER NOT NULL,            -- among the client's good samples, from 0
    sample_sha256 TEXT NOT NULL,
    language TEXT NOT NULL,
    verb TEXT,                                -- approximate, as is the object
    object TEXT,
    instruction_characters INTEGER NOT NULL,
    response_characters INTEGER NOT NULL,
    rejected_characters INTEGER,
    instruction_tokens INTEGER,
    response_tokens INTEGER,
    rejected_tokens INTEGER,
    loss_given_instruction REAL,              -- nats per token of the answer, mean
    loss_alone REAL,
    ifd REAL,                                 -- the first loss divided by the second
    pca_x REAL,
    pca_y REAL,
    umap_x REAL,
    umap_y REAL,
    PRIMARY KEY (client_index, sample_index)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE client_pairs (
    left_index INTEGER NOT NULL REFERENCES clients (client_index),
    right_index INTEGER NOT NULL REFERENCES clients (client_index),
    language_distance REAL NOT NULL,
    instruction_length_distance REAL NOT NULL,
    response_length_distance REAL NOT NULL,
    embedding_similarity REAL,                -- cosine of the mean embeddings
    centred_similarity REAL,                  -- the same without the mean of all embeddings
    PRIMARY KEY (left_index, right_index),
    CHECK (left_index < right_index)
  ) STRICT, WITHOUT ROWID;
`;
