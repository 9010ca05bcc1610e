/**
 * The tables of evaluation.sqlite and their history; a migration is never edited after a release. What a model answered is kept
 * under everything that answers depend on, and beside it, by judge, what the answers were worth: another judge asks the model nothing.
 * So are a judge's verdicts on two subjects' answers, in the file of the left one.
 * Means are queries and are stored nowhere.
 */
import type { DatabaseKind } from "../metrics/database.js";

/** One SQL script per schema version, the first for an empty file. */
const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE subjects (                     -- whom users asked for; two may be the same model and adapter
    id INTEGER PRIMARY KEY,
    label TEXT NOT NULL,
    arm TEXT,                                 -- NULL: of no run, or a base model
    round INTEGER,                            -- NULL: no adapter of a run
    client_id TEXT,                           -- NULL: a common adapter
    client_group TEXT,                        -- NULL: not of a group
    precision TEXT,                           -- of the base model; NULL: a file that somebody named
    model_name TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    adapter_sha256 TEXT                       -- NULL: the base model alone
  ) STRICT;
  CREATE UNIQUE INDEX subjects_by_label ON subjects (label, model_sha256, ifnull(adapter_sha256, ''));

  CREATE TABLE evaluations (                  -- one metric's questions to one model
    id INTEGER PRIMARY KEY,
    identity_sha256 TEXT NOT NULL UNIQUE,     -- of all columns that answers depend on
    created_at TEXT NOT NULL,                 -- ISO 8601, wall clock
    model_sha256 TEXT NOT NULL,
    adapter_sha256 TEXT,
    metric TEXT NOT NULL,
    settings_json TEXT NOT NULL CHECK (json_valid(settings_json)),  -- of metric and model
    items_sha256 TEXT NOT NULL,               -- of the question set
    num_items INTEGER NOT NULL,               -- asked
    seed INTEGER NOT NULL,
    versions_json TEXT NOT NULL CHECK (json_valid(versions_json)),  -- program, llama.cpp
    measures_json TEXT NOT NULL CHECK (json_valid(measures_json))   -- titles and ways of summing up
  ) STRICT;

  CREATE TABLE items (                        -- what the model answered; a group of items comes at once
    evaluation_id INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,                     -- place in the question set as asked, from 0
    item_id TEXT NOT NULL,
    category TEXT,
    turns_json TEXT NOT NULL CHECK (json_valid(turns_json)),        -- prompts and outputs in order
    details_json TEXT CHECK (details_json IS NULL OR json_valid(details_json)),
    num_prompt_tokens INTEGER NOT NULL,
    num_tokens INTEGER NOT NULL,
    duration_ms REAL NOT NULL,                -- the item's part of its group's time
    PRIMARY KEY (evaluation_id, seq),
    UNIQUE (evaluation_id, item_id)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE gradings (                     -- who scored the answers of an evaluation
    id INTEGER PRIMARY KEY,
    evaluation_id INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    judge TEXT,                               -- NULL: none
    sandbox TEXT                              -- NULL: none
  ) STRICT;
  CREATE UNIQUE INDEX gradings_by_judge ON gradings (evaluation_id, ifnull(judge, ''), ifnull(sandbox, ''));

  CREATE TABLE scores (
    grading_id INTEGER NOT NULL REFERENCES gradings (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    measure TEXT NOT NULL,
    value REAL,                               -- NULL: could not be told; left out of means
    weight REAL NOT NULL CHECK (weight > 0),
    words TEXT,                               -- of the judge or the program
    given_by TEXT,                            -- judge or rule
    PRIMARY KEY (grading_id, seq, measure)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE unscored (                     -- answers that got no score, and will be tried again
    grading_id INTEGER NOT NULL REFERENCES gradings (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (grading_id, seq)
  ) STRICT, WITHOUT ROWID;

  CREATE VIEW score_means AS                  -- weighted means over items, as the tables of eval show have them
    SELECT subjects.label, subjects.arm, subjects.round, subjects.client_id, subjects.precision, evaluations.metric, scores.measure,
           gradings.judge, evaluations.id AS evaluation_id,
           sum(scores.value * scores.weight) / sum(CASE WHEN scores.value IS NULL THEN 0 ELSE scores.weight END) AS mean,
           count(scores.value) AS num_items, count(*) - count(scores.value) AS num_excluded
    FROM subjects
    JOIN evaluations ON evaluations.model_sha256 = subjects.model_sha256 AND evaluations.adapter_sha256 IS subjects.adapter_sha256
    JOIN gradings ON gradings.evaluation_id = evaluations.id
    JOIN scores ON scores.grading_id = gradings.id
    GROUP BY subjects.id, gradings.id, scores.measure;
  `,
  `
  CREATE TABLE comparisons (                  -- one judge on the answers of two subjects, side by side
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,                 -- ISO 8601, wall clock
    left_evaluation_id INTEGER NOT NULL REFERENCES evaluations (id) ON DELETE CASCADE,
    right_identity_sha256 TEXT NOT NULL,      -- of the other evaluation, which may be in another file
    right_label TEXT NOT NULL,                -- the subject's name when it was first compared
    right_model_sha256 TEXT NOT NULL,
    right_adapter_sha256 TEXT,                -- NULL: the base model alone
    judge TEXT NOT NULL,
    settings_json TEXT NOT NULL CHECK (json_valid(settings_json)),  -- how the judge is asked
    UNIQUE (left_evaluation_id, right_identity_sha256, judge, settings_json)
  ) STRICT;

  CREATE TABLE verdicts (                     -- each pair of answers has one per order
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,                     -- of the left evaluation's item
    shown_first TEXT NOT NULL CHECK (shown_first IN ('left', 'right')),
    verdict TEXT CHECK (verdict IN ('left', 'right', 'tie')),       -- the better side; NULL: could not be read
    words TEXT NOT NULL,                      -- of the judge
    num_prompt_tokens INTEGER NOT NULL,       -- of the reply, from the cache or not; 0: not counted by the endpoint
    num_completion_tokens INTEGER NOT NULL,
    PRIMARY KEY (comparison_id, seq, shown_first)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE unjudged (                     -- orders that got no reply, and will be tried again
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    shown_first TEXT NOT NULL CHECK (shown_first IN ('left', 'right')),
    code TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (comparison_id, seq, shown_first)
  ) STRICT, WITHOUT ROWID;
  `,
];

/** evaluation.sqlite; `application_id` has the letters FDLE. */
export const EVALUATION_DATABASE: DatabaseKind = {
  applicationId: 0x46444c45,
  migrations: MIGRATIONS,
  name: "results",
  upgrade: "Run fedllm-native eval on it once with this release, which brings the file up to date",
};

/** Columns that differ between two evaluations that are otherwise the same. */
export const EVALUATION_CLOCK_COLUMNS: readonly string[] = ["created_at", "duration_ms"];
