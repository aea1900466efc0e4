-- Which write-ahead log belongs to this file, and up to when the clock has been confirmed.
-- Times are whole seconds since the Unix epoch. Never edited once landed: a change is a new file.

-- One row, rewritten at every start and in every new log. A log that does not continue from the row in the file
-- belongs to another file. The gateway finds the row in the raw pages of the log, so the layout is fixed: see
-- gateway/store/src/lineage.rs.
CREATE TABLE log_stamp (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    stamp BLOB    NOT NULL CHECK (length(stamp) = 44)
) STRICT;

-- One row: the time up to which rows that have expired may be deleted. It follows the machine's clock while the
-- clock advances as a clock does, and does not follow it when it jumps.
CREATE TABLE confirmed_time (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    at    INTEGER NOT NULL,
    -- For how many seconds of running the clock has been further ahead than it may be.
    ahead INTEGER NOT NULL
) STRICT;
