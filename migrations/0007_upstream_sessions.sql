-- Which session at its provider each session came from, what the provider is shown at a sign-out, and which of its
-- sign-outs the gateway has already acted on.
-- Times are whole seconds since the Unix epoch. Never edited once landed: a change is a new file.

-- A hash of the issuer and its `sid` (gateway/store/src/upstream_sessions.rs). NULL where the provider names no session,
-- and for sessions that are older than this column.
ALTER TABLE sessions ADD COLUMN upstream BLOB CHECK (upstream IS NULL OR length(upstream) = 32);
CREATE INDEX sessions_by_upstream ON sessions (upstream) WHERE upstream IS NOT NULL;

-- The ID token that a session began with, sealed by the gateway, where its provider wants it at a sign-out. In a table of
-- its own, because sessions are looked up at every request and this is a hundred times as large.
CREATE TABLE id_token_hints (
    session TEXT NOT NULL PRIMARY KEY REFERENCES sessions (id) ON DELETE CASCADE,
    sealed  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Logout tokens that were used, and the sessions and subjects that they named, so that a token works once and a sign-in
-- that was under way does not outlive the sign-out.
CREATE TABLE upstream_sign_outs (
    -- A hash of the issuer and what it named.
    key     BLOB    NOT NULL PRIMARY KEY CHECK (length(key) = 32),
    issuer  TEXT    NOT NULL,
    -- Counts up for each issuer, so that only its latest rows are kept.
    number  INTEGER NOT NULL,
    -- When the provider signed it.
    issued  INTEGER NOT NULL,
    expires INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX upstream_sign_outs_by_issuer ON upstream_sign_outs (issuer, number);
CREATE INDEX upstream_sign_outs_by_expiry ON upstream_sign_outs (expires);
