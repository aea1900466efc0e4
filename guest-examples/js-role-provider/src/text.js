// Text functions that behave the same in all role providers.

const INNER = /\P{White_Space}([^]*\P{White_Space})?/u;

/** The text without the white space round it. */
export function trim(text) {
    // JavaScript's `trim` differs from Unicode in two characters: it keeps the first, which is white space, and removes
    // the second, which is not. It is much faster than a pattern.
    if (!text.includes("\u0085") && !text.includes("\ufeff")) return text.trim();
    return text.match(INNER)?.[0] ?? "";
}

/** The texts before and after the first separator, or null if there is none. */
export function splitOnce(text, separator) {
    const at = text.indexOf(separator);
    return at < 0 ? null : [text.slice(0, at), text.slice(at + separator.length)];
}
