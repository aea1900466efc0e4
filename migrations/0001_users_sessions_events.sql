-- Users, the identities they sign in with, their sessions, and the events that hooks are told.
-- Times are whole seconds since the Unix epoch. Never edited once landed: a change is a new file.

CREATE TABLE users (
    id              TEXT    NOT NULL PRIMARY KEY,
    username        TEXT,
    -- What uniqueness is decided by: the username in lower case.
    username_folded TEXT    UNIQUE,
    name            TEXT    NOT NULL,
    email           TEXT,
    -- 1: a provider that the operator trusts for email has said so; only then does it find the user.
    email_trusted   INTEGER NOT NULL DEFAULT 0 CHECK (email_trusted IN (0, 1)),
    -- Which of the user's identities vouches for the address (identities.id), and so may change it.
    email_identity  INTEGER,
    avatar_url      TEXT,
    joined          INTEGER NOT NULL,
    status          TEXT    NOT NULL CHECK (status IN ('pending', 'active', 'disabled')),
    -- What hooks have set: a JSON object of texts.
    attributes      TEXT    NOT NULL DEFAULT '{}',
    CHECK ((username IS NULL) = (username_folded IS NULL)),
    CHECK ((email IS NULL) = (email_identity IS NULL)),
    CHECK (email IS NOT NULL OR email_trusted = 0)
) STRICT, WITHOUT ROWID;

CREATE INDEX users_by_email ON users (email) WHERE email IS NOT NULL;
-- An address that finds a user finds exactly one.
CREATE UNIQUE INDEX users_by_trusted_email ON users (email) WHERE email_trusted = 1;

CREATE TABLE identities (
    -- Counts up: the oldest first.
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id  TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider TEXT    NOT NULL,
    issuer   TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    -- The subject first, so that an operator can search by it.
    UNIQUE (subject, issuer)
) STRICT;

CREATE INDEX identities_by_user ON identities (user_id);

CREATE TABLE sessions (
    id          TEXT    NOT NULL PRIMARY KEY,
    user_id     TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Which of the user's identities signed in (identities.id). No foreign key: an identity ends only
    -- with its user, and the check would read every session.
    identity_id INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_expiry ON sessions (expires);

CREATE TABLE events (
    -- Counts up: the order in which things happened.
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    kind       TEXT    NOT NULL CHECK (kind IN ('new-user', 'login', 'logout')),
    -- No foreign key: the event that told of a rejected new user outlives them.
    user_id    TEXT    NOT NULL,
    at         INTEGER NOT NULL,
    provider   TEXT    NOT NULL,
    issuer     TEXT    NOT NULL,
    subject    TEXT    NOT NULL,
    -- The provider's claims, a JSON object; emptied when the event is settled.
    claims     TEXT    NOT NULL,
    -- NULL: pending. 'dropped': its user went away before a hook had answered.
    verdict    TEXT    CHECK (verdict IN ('accepted', 'rejected', 'failed', 'dropped')),
    hook       TEXT,
    detail     TEXT,
    settled_at INTEGER,
    CHECK ((verdict IS NULL) = (settled_at IS NULL))
) STRICT;

CREATE INDEX events_pending ON events (sequence) WHERE verdict IS NULL;
CREATE INDEX events_by_user ON events (user_id, kind);
CREATE INDEX events_settled ON events (settled_at) WHERE settled_at IS NOT NULL;

-- The `state` of every sign-in that has come back, until it has expired anyway.
CREATE TABLE used_states (
    state   TEXT    NOT NULL PRIMARY KEY,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX used_states_by_expiry ON used_states (expires);

-- One row that is rewritten to find out whether writing works.
CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;
