/** The tables of privacy.sqlite. */

/** "FDLP" in ASCII: what SQLite shows as the file's application. */
export const APPLICATION_ID = 0x46444c50;
export const SCHEMA_VERSION = 1;

export const SCHEMA = `
CREATE TABLE arms (
  name TEXT PRIMARY KEY NOT NULL,
  -- Of everything that the rounds depend on.
  fingerprint TEXT NOT NULL,
  -- Decides cohorts and noise; NULL once the arm is finished.
  secret BLOB,
  -- 1: the secret comes from a seed.
  is_insecure INTEGER NOT NULL CHECK (is_insecure IN (0, 1)),
  -- JSON: what the report says about the mechanism.
  claim TEXT NOT NULL
) STRICT;

CREATE TABLE releases (
  arm TEXT NOT NULL REFERENCES arms (name),
  round INTEGER NOT NULL CHECK (round > 0),
  -- From 1; above 1: another sum of the same round was released before.
  attempt INTEGER NOT NULL CHECK (attempt > 0),
  -- HMAC of the exact sum.
  digest TEXT NOT NULL,
  sampling TEXT NOT NULL CHECK (sampling IN ('poisson', 'fixedSize')),
  sample_rate REAL NOT NULL,
  -- Standard deviation of the noise over the sensitivity.
  noise_multiplier REAL NOT NULL,
  clip_norm REAL NOT NULL,
  charged_at TEXT NOT NULL,
  PRIMARY KEY (arm, round, attempt),
  UNIQUE (arm, round, digest)
) STRICT;
`;
