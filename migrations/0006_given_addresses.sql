-- Which addresses issuers have given to whom, so that an address that was ever two people's is known as such.
-- Never edited once landed: a change is a new file.

-- One row for each address and issuer. It outlives the user, the identity and a sign-in that is refused, so it holds
-- hashes (gateway/store/src/addresses.rs, which also fills it from what is there). Only a sign-in that a provider
-- trusted for email has confirmed, with a verified address, adds a row.
CREATE TABLE given_addresses (
    -- Of the address, without regard to case.
    address   BLOB    NOT NULL CHECK (length(address) = 32),
    issuer    TEXT    NOT NULL,
    -- Of the first subject that had it.
    subject   BLOB    NOT NULL CHECK (length(subject) = 32),
    -- The user who brought it last from this issuer; nobody once they are deleted.
    user_id   TEXT    REFERENCES users (id) ON DELETE SET NULL,
    -- 1: another subject of the issuer, or another user, has had it as well. It never becomes 0 again.
    contested INTEGER NOT NULL DEFAULT 0 CHECK (contested IN (0, 1)),
    PRIMARY KEY (address, issuer)
) STRICT, WITHOUT ROWID;

CREATE INDEX given_addresses_by_user ON given_addresses (user_id) WHERE user_id IS NOT NULL;
