/**
 * The tables of metrics.sqlite and their history. The database is of one run; its arms are the trainings it compares.
 * A migration is never edited after a release: a change is a new entry, and `user_version` counts how many were applied.
 * Columns carry their units; a value that does not exist is NULL. Columns that depend on the clock or on the state of
 * the machine are listed in WALL_CLOCK_COLUMNS: two runs with the same seed agree in all others.
 */

/** Marks a file as ours in `application_id`: the letters FDLM. */
export const APPLICATION_ID = 0x46444c4d;

/** One SQL script per schema version, the first for an empty file. */
export const MIGRATIONS: readonly string[] = [
  `
  CREATE TABLE runs (
    id TEXT NOT NULL PRIMARY KEY,
    created_at TEXT NOT NULL,                 -- ISO 8601, wall clock
    seed INTEGER NOT NULL,
    config_json TEXT NOT NULL CHECK (json_valid(config_json)),      -- resolved configuration
    versions_json TEXT NOT NULL CHECK (json_valid(versions_json)),  -- program, Node, llama.cpp
    data_sha256 TEXT
  ) STRICT;

  CREATE TABLE arms (
    name TEXT NOT NULL PRIMARY KEY,
    run_id TEXT NOT NULL REFERENCES runs (id) ON DELETE CASCADE,
    arm_index INTEGER NOT NULL,               -- place in tables, from 0
    strategy TEXT,                            -- NULL: nothing is trained
    model_name TEXT NOT NULL,
    model_sha256 TEXT NOT NULL,
    model_weight_bytes INTEGER NOT NULL,
    num_parameters INTEGER,                   -- trainable ones
    UNIQUE (run_id, arm_index)
  ) STRICT;

  CREATE TABLE rounds (
    arm TEXT NOT NULL REFERENCES arms (name) ON DELETE CASCADE,
    round INTEGER NOT NULL CHECK (round >= 0),  -- 0: before training
    started_at TEXT NOT NULL,                 -- ISO 8601, wall clock
    duration_ms REAL NOT NULL,                -- training and evaluation
    evaluation_duration_ms REAL,
    cohort_size INTEGER NOT NULL,
    num_succeeded INTEGER NOT NULL,
    num_failed INTEGER NOT NULL,              -- without an accepted update
    num_rejected INTEGER NOT NULL,            -- of these, with a refused one
    train_loss REAL,                          -- mean over succeeded clients
    global_update_norm REAL,
    upload_bytes INTEGER NOT NULL,
    download_bytes INTEGER NOT NULL,
    PRIMARY KEY (arm, round)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE client_rounds (
    arm TEXT NOT NULL,
    round INTEGER NOT NULL,
    client_id TEXT NOT NULL,
    num_examples INTEGER NOT NULL,            -- full data size, the weight in a mean
    num_samples INTEGER,                      -- drawn in this round
    num_tokens INTEGER,                       -- computed, summed over steps
    num_supervised_tokens INTEGER,
    num_steps INTEGER,
    train_loss REAL,                          -- per supervised token, mean over steps
    first_train_loss REAL,
    last_train_loss REAL,
    learning_rate REAL NOT NULL,
    train_duration_ms REAL,
    tokens_per_second REAL,                   -- computed tokens
    update_norm REAL,
    upload_bytes INTEGER NOT NULL,
    download_bytes INTEGER NOT NULL,
    peak_memory_bytes INTEGER,                -- of the training process, so far
    failure_code TEXT,                        -- NULL: all went well
    failure_message TEXT,
    PRIMARY KEY (arm, round, client_id),
    FOREIGN KEY (arm, round) REFERENCES rounds (arm, round) ON DELETE CASCADE,
    CHECK ((failure_code IS NULL) = (failure_message IS NULL)),
    CHECK (failure_code IS NULL OR train_loss IS NULL)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE evaluations (
    arm TEXT NOT NULL,
    round INTEGER NOT NULL,
    client_id TEXT,                           -- NULL: global
    metric TEXT NOT NULL,
    value REAL,                               -- NULL: not a finite number
    FOREIGN KEY (arm, round) REFERENCES rounds (arm, round) ON DELETE CASCADE
  ) STRICT;
  CREATE UNIQUE INDEX evaluations_of_clients ON evaluations (arm, round, metric, client_id)
    WHERE client_id IS NOT NULL;
  CREATE UNIQUE INDEX evaluations_global ON evaluations (arm, round, metric) WHERE client_id IS NULL;

  CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    created_at TEXT NOT NULL,                 -- ISO 8601, wall clock
    arm TEXT REFERENCES arms (name) ON DELETE CASCADE,  -- NULL: the whole run
    round INTEGER,
    client_id TEXT,
    kind TEXT NOT NULL,
    message TEXT NOT NULL
  ) STRICT;
  CREATE INDEX events_of_arms ON events (arm, round);
  `,
  // Preference training; NULL everywhere else. Rewards are beta (log pi - log ref), log-probabilities sums over an answer.
  `
  ALTER TABLE client_rounds ADD COLUMN reward_margin REAL;             -- chosen minus rejected, mean over steps, as the others
  ALTER TABLE client_rounds ADD COLUMN reward_accuracy REAL;           -- part of the pairs with a margin above 0
  ALTER TABLE client_rounds ADD COLUMN chosen_reward REAL;
  ALTER TABLE client_rounds ADD COLUMN rejected_reward REAL;
  ALTER TABLE client_rounds ADD COLUMN chosen_log_probability REAL;
  ALTER TABLE client_rounds ADD COLUMN rejected_log_probability REAL;
  ALTER TABLE rounds ADD COLUMN reward_margin REAL;                    -- mean over succeeded clients
  ALTER TABLE rounds ADD COLUMN reward_accuracy REAL;
  `,
  `
  CREATE TABLE round_measures (
    arm TEXT NOT NULL,
    round INTEGER NOT NULL,
    layer INTEGER,                            -- of the model, from 0; NULL: the whole adapter
    measure TEXT NOT NULL,                    -- aggregation_error: relative distance from the mean of the clients' products
    value REAL,                               -- NULL: not a finite number
    FOREIGN KEY (arm, round) REFERENCES rounds (arm, round) ON DELETE CASCADE
  ) STRICT;
  CREATE UNIQUE INDEX round_measures_of_layers ON round_measures (arm, round, measure, layer) WHERE layer IS NOT NULL;
  CREATE UNIQUE INDEX round_measures_overall ON round_measures (arm, round, measure) WHERE layer IS NULL;
  `,
  // The simulated clock, a function of seed, devices and counts; NULL without devices. Clients that are asked again.
  `
  ALTER TABLE rounds ADD COLUMN simulated_duration_ms REAL;            -- until the server went on
  ALTER TABLE client_rounds ADD COLUMN device TEXT;                    -- name of the device's profile
  ALTER TABLE client_rounds ADD COLUMN simulated_duration_ms REAL;     -- from the start of the round to the answer, or until given up
  ALTER TABLE client_rounds ADD COLUMN num_attempts INTEGER;           -- NULL: one
  `,
  // Asynchronous servers; NULL everywhere else.
  `
  ALTER TABLE client_rounds ADD COLUMN staleness INTEGER;              -- versions the server made while the client worked
  `,
  // Federations whose clients train on base models of different precision; NULL everywhere else.
  `
  ALTER TABLE client_rounds ADD COLUMN precision TEXT;                 -- of the client's base model
  `,
  // Data whose clients are in groups; NULL or empty everywhere else.
  `
  ALTER TABLE client_rounds ADD COLUMN client_group TEXT;              -- of the client
  CREATE TABLE group_evaluations (
    arm TEXT NOT NULL,
    round INTEGER NOT NULL,
    client_group TEXT NOT NULL,               -- whose clients' samples were judged
    metric TEXT NOT NULL,
    value REAL,                               -- NULL: not a finite number
    PRIMARY KEY (arm, round, metric, client_group),
    FOREIGN KEY (arm, round) REFERENCES rounds (arm, round) ON DELETE CASCADE
  ) STRICT, WITHOUT ROWID;
  `,
  // How clients' trainings were made to fit into memory; NULL where nobody planned it.
  `
  ALTER TABLE client_rounds ADD COLUMN planned_peak_bytes INTEGER;     -- predicted for peak_memory_bytes; on the CPU with all weights
  ALTER TABLE client_rounds ADD COLUMN planned_device_bytes INTEGER;   -- of adapter, activations and checkpoints on the device, predicted
  ALTER TABLE client_rounds ADD COLUMN device_bytes INTEGER;           -- what these took
  ALTER TABLE client_rounds ADD COLUMN micro_batch_tokens INTEGER;     -- most tokens at once
  ALTER TABLE client_rounds ADD COLUMN recomputes INTEGER;             -- 1: layers were computed again in the backward pass, 0: kept
  ALTER TABLE client_rounds ADD COLUMN streams INTEGER;                -- 1: weights came from the file layer by layer
  ALTER TABLE client_rounds ADD COLUMN fell_back INTEGER;              -- 1: memory ran out once, and a leaner plan took over
  `,
  // Energy of the whole machine while a round ran, other programs included; NULL where the system does not tell.
  `
  ALTER TABLE rounds ADD COLUMN cpu_energy_joules REAL;                -- processor packages and memory; on Apple's chips all of the chip
  ALTER TABLE rounds ADD COLUMN gpu_energy_joules REAL;                -- all cards
  ALTER TABLE rounds ADD COLUMN energy_source TEXT;                    -- who told: rapl, nvidia-smi, powermetrics, joined by spaces
  `,
  // What an arm's last adapter is worth on base models of other precision than the one it was trained on.
  `
  CREATE TABLE transfer_evaluations (
    arm TEXT NOT NULL REFERENCES arms (name) ON DELETE CASCADE,
    precision TEXT NOT NULL,                  -- of the base model that it was judged on
    round INTEGER NOT NULL,                   -- after which the adapter was taken: the last one
    metric TEXT NOT NULL,                     -- of the overall held-out data, named as in evaluations
    value REAL,                               -- NULL: not a finite number
    PRIMARY KEY (arm, precision, metric)
  ) STRICT, WITHOUT ROWID;
  `,
  // What a run was predicted to cost before it began; empty where nobody asked.
  `
  CREATE TABLE predictions (
    arm TEXT NOT NULL,
    quantity TEXT NOT NULL,                   -- with its unit: tokens, upload_bytes, download_bytes, peak_memory_bytes, duration_ms, energy_joules
    value REAL NOT NULL,
    low REAL,                                 -- ends of the expected interval; NULL: none is claimed
    high REAL,
    PRIMARY KEY (arm, quantity)
  ) STRICT, WITHOUT ROWID;
  `,
  // What a robust rule made of the clients' updates; NULL everywhere else.
  `
  ALTER TABLE client_rounds ADD COLUMN robust_share REAL;              -- what the update counts in the result, 0: nothing; NULL: by coordinate
  ALTER TABLE client_rounds ADD COLUMN robust_score REAL;              -- Krum's score, the norm, or the distance from the result
  `,
];

/** Columns that differ between two runs that are otherwise the same. */
export const WALL_CLOCK_COLUMNS: readonly string[] = [
  "created_at",
  "started_at",
  "duration_ms",
  "evaluation_duration_ms",
  "cpu_energy_joules",
  "gpu_energy_joules",
  "energy_source",
  "train_duration_ms",
  "tokens_per_second",
  "peak_memory_bytes",
  "planned_peak_bytes",
  "planned_device_bytes",
  "device_bytes",
  "micro_batch_tokens",
  "recomputes",
  "streams",
  "fell_back",
];
