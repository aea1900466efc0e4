// Texts as all the role providers read them, in whatever language they are written.

const INNER = /\P{White_Space}([^]*\P{White_Space})?/u;

/** The text without the white space round it. */
export function trim(text) {
    // JavaScript's own `trim` goes by a list that differs from Unicode's in these two: it leaves the first,
    // which is white space, and takes the second, which is none. It is much quicker than a pattern.
    if (!text.includes("\u0085") && !text.includes("\ufeff")) return text.trim();
    return text.match(INNER)?.[0] ?? "";
}

/** What stands before the separator and what after it, or nothing where there is none. */
export function splitOnce(text, separator) {
    const at = text.indexOf(separator);
    return at < 0 ? null : [text.slice(0, at), text.slice(at + separator.length)];
}
