-- Which address each identity brings, which identities must not be linked by one, and how much is pending.
-- Times are whole seconds since the Unix epoch. Never edited once landed: a change is a new file.

-- The verified address that the identity had at its latest sign-in, where its provider is trusted for
-- email. An address that one issuer gives to two subjects finds nobody.
ALTER TABLE identities ADD COLUMN email TEXT;
UPDATE identities SET email =
    (SELECT u.email FROM users u WHERE u.id = identities.user_id AND u.email_identity = identities.id AND u.email_trusted = 1);
CREATE INDEX identities_by_email ON identities (email) WHERE email IS NOT NULL;

-- An operator has taken this identity from this user: an address does not link it to them again.
CREATE TABLE separated_identities (
    subject TEXT NOT NULL,
    issuer  TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (subject, issuer, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX separated_identities_by_user ON separated_identities (user_id);

-- Sums by which pending events are bounded. Only the triggers write here.
CREATE INDEX events_pending_by_user ON events (user_id, kind, sequence) WHERE verdict IS NULL;

CREATE TABLE pending_event_usage (
    provider TEXT    NOT NULL,
    kind     TEXT    NOT NULL,
    count    INTEGER NOT NULL,
    -- Of the claims.
    bytes    INTEGER NOT NULL,
    PRIMARY KEY (provider, kind)
) STRICT, WITHOUT ROWID;

-- Materialized, so that only the sizes of the claims are sorted and not the claims.
WITH pending AS MATERIALIZED (SELECT provider, kind, octet_length(claims) AS bytes FROM events WHERE verdict IS NULL)
    INSERT INTO pending_event_usage (provider, kind, count, bytes)
    SELECT provider, kind, count(*), sum(bytes) FROM pending GROUP BY provider, kind;

CREATE TRIGGER events_added AFTER INSERT ON events WHEN new.verdict IS NULL BEGIN
    INSERT INTO pending_event_usage (provider, kind, count, bytes)
        VALUES (new.provider, new.kind, 1, octet_length(new.claims))
        ON CONFLICT (provider, kind) DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER events_changed AFTER UPDATE OF verdict, claims, provider, kind ON events BEGIN
    UPDATE pending_event_usage SET count = count - 1, bytes = bytes - octet_length(old.claims)
        WHERE old.verdict IS NULL AND provider = old.provider AND kind = old.kind;
    INSERT INTO pending_event_usage (provider, kind, count, bytes)
        SELECT new.provider, new.kind, 1, octet_length(new.claims) WHERE new.verdict IS NULL
        ON CONFLICT (provider, kind) DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    DELETE FROM pending_event_usage WHERE provider = old.provider AND kind = old.kind AND count = 0;
END;

CREATE TRIGGER events_removed AFTER DELETE ON events WHEN old.verdict IS NULL BEGIN
    UPDATE pending_event_usage SET count = count - 1, bytes = bytes - octet_length(old.claims)
        WHERE provider = old.provider AND kind = old.kind;
    DELETE FROM pending_event_usage WHERE provider = old.provider AND kind = old.kind AND count = 0;
END;
