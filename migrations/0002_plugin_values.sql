-- What plugins keep: values by key, and how much that is.
-- Times are whole seconds since the Unix epoch. Never edited once landed: a change is a new file.

CREATE TABLE plugin_values (
    -- The plugin's name in the configuration.
    plugin  TEXT    NOT NULL,
    -- UTF-8, as a blob: compared byte by byte, NUL or not, and the end of a range of keys need not be
    -- text. CAST(key AS TEXT) shows it.
    key     BLOB    NOT NULL,
    -- From then on it is as if it were not there. NULL: it stays until it is deleted.
    expires INTEGER,
    -- What it counts against the plugin's allowance. Before the value, as is `expires`, so that neither
    -- is looked for at the end of a long value.
    bytes   INTEGER NOT NULL GENERATED ALWAYS AS (length(key) + length(value)) STORED,
    value   BLOB    NOT NULL,
    PRIMARY KEY (plugin, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX plugin_values_by_expiry ON plugin_values (plugin, expires) WHERE expires IS NOT NULL;

-- What each plugin keeps, summed up: what has expired counts until it is deleted. A plugin that keeps
-- nothing has no row. Only the triggers write here, so that whoever changes a value, and be it an
-- operator by hand, changes the sum with it. (INSERT OR REPLACE would not: it fires no delete trigger.)
CREATE TABLE plugin_value_usage (
    plugin TEXT    NOT NULL PRIMARY KEY,
    count  INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER plugin_values_added AFTER INSERT ON plugin_values BEGIN
    INSERT INTO plugin_value_usage (plugin, count, bytes) VALUES (new.plugin, 1, new.bytes)
        ON CONFLICT (plugin) DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
END;

CREATE TRIGGER plugin_values_changed AFTER UPDATE OF plugin, key, value ON plugin_values BEGIN
    INSERT INTO plugin_value_usage (plugin, count, bytes) VALUES (new.plugin, 1, new.bytes)
        ON CONFLICT (plugin) DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes;
    UPDATE plugin_value_usage SET count = count - 1, bytes = bytes - old.bytes WHERE plugin = old.plugin;
    DELETE FROM plugin_value_usage WHERE plugin = old.plugin AND count = 0;
END;

CREATE TRIGGER plugin_values_removed AFTER DELETE ON plugin_values BEGIN
    UPDATE plugin_value_usage SET count = count - 1, bytes = bytes - old.bytes WHERE plugin = old.plugin;
    DELETE FROM plugin_value_usage WHERE plugin = old.plugin AND count = 0;
END;
