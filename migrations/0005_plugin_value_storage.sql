-- What a plugin's values take in the file, not only what they hold. A row has its plugin's name, a header and its
-- columns beside key and value; pages of rows that come in any order are two thirds full; what is longer than about
-- a thousand bytes goes into pages of its own; and a lifetime is one more row, in the index by expiry. Many tiny
-- values took up to eighty times the bytes of their keys and values.
-- The same sum as in gateway/model/src/stored.rs.
ALTER TABLE plugin_values ADD COLUMN stored INTEGER GENERATED ALWAYS AS (
    CASE WHEN length(CAST(plugin AS BLOB)) + bytes + 20 <= 1000
        THEN (length(CAST(plugin AS BLOB)) + bytes + 20) * 3 / 2
        ELSE 512 + (length(CAST(plugin AS BLOB)) + bytes + 20 - 489 + 4091) / 4092 * 4096
    END
    + CASE WHEN expires IS NULL THEN 0 ELSE (length(CAST(plugin AS BLOB)) + length(key) + 20) * 3 / 2 END
) VIRTUAL;

ALTER TABLE plugin_value_usage ADD COLUMN stored INTEGER NOT NULL DEFAULT 0;
UPDATE plugin_value_usage SET stored =
    (SELECT coalesce(sum(v.stored), 0) FROM plugin_values v WHERE v.plugin = plugin_value_usage.plugin);

DROP TRIGGER plugin_values_added;
DROP TRIGGER plugin_values_changed;
DROP TRIGGER plugin_values_removed;

CREATE TRIGGER plugin_values_added AFTER INSERT ON plugin_values BEGIN
    INSERT INTO plugin_value_usage (plugin, count, bytes, stored) VALUES (new.plugin, 1, new.bytes, new.stored)
        ON CONFLICT (plugin) DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes,
            stored = stored + excluded.stored;
END;

CREATE TRIGGER plugin_values_changed AFTER UPDATE OF plugin, key, value, expires ON plugin_values BEGIN
    INSERT INTO plugin_value_usage (plugin, count, bytes, stored) VALUES (new.plugin, 1, new.bytes, new.stored)
        ON CONFLICT (plugin) DO UPDATE SET count = count + 1, bytes = bytes + excluded.bytes,
            stored = stored + excluded.stored;
    UPDATE plugin_value_usage SET count = count - 1, bytes = bytes - old.bytes, stored = stored - old.stored
        WHERE plugin = old.plugin;
    DELETE FROM plugin_value_usage WHERE plugin = old.plugin AND count = 0;
END;

CREATE TRIGGER plugin_values_removed AFTER DELETE ON plugin_values BEGIN
    UPDATE plugin_value_usage SET count = count - 1, bytes = bytes - old.bytes, stored = stored - old.stored
        WHERE plugin = old.plugin;
    DELETE FROM plugin_value_usage WHERE plugin = old.plugin AND count = 0;
END;
