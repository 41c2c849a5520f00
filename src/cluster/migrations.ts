/**
 * The schema, as the steps that led to it: step N brings a file from version N-1 to N (kept in
 * `user_version`). Steps that were released are never edited; a change is a new step.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE documents (
    bucket   TEXT NOT NULL,
    key      TEXT NOT NULL,
    revision INTEGER NOT NULL,  -- of the whole store, at the last change of this document
    value    TEXT NOT NULL,     -- JSON
    PRIMARY KEY (bucket, key)
  ) WITHOUT ROWID;

  CREATE TABLE counters (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
  ) WITHOUT ROWID;
  INSERT INTO counters VALUES ('revision', 0);

  CREATE TABLE journal (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    operation TEXT NOT NULL,    -- the operation that acquires, for the log
    owner     TEXT NOT NULL,    -- id of the vm, template or image it is for
    kind      TEXT NOT NULL,    -- what to look for when nobody remembers
    ident     TEXT NOT NULL,    -- JSON: how to find it
    state     TEXT NOT NULL CHECK (state IN ('intent', 'held')),
    at_ms     REAL NOT NULL     -- wall clock of the last change
  );
  CREATE INDEX journal_owner ON journal (owner);
  `,
]

/** “RAMT”: a SQLite file of somebody else is refused, never migrated. */
export const applicationId = 0x52414d54
