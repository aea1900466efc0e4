// How permissions are written: `read, wiki:edit, quota=10, groups=["a","b"]`.
//
// An entry is `[service:]permission[=value]`; commas and line breaks separate entries, except within
// quotes, brackets and braces. Without a value it is `true`; a value is `true` or `false`, a number, JSON
// where it begins with `"`, `[` or `{` or is `null`, and text otherwise. The service `*` is every service,
// which is what an entry without one means too.

import { splitOnce, trim } from "./text.js";

/** A mistake in a setting: the sentence is for the operator. Everything else that is thrown is a bug. */
export class Mistake extends Error {}

/**
 * Reads a list of permissions. Each has a `service` (`null` is every service), a `name` and a `value`
 * in the shape of the interface's variant `value`: `{ tag, val }`.
 *
 * @throws {Mistake} what is wrong, without saying in which setting
 */
export function entries(list) {
    return split(list).map(entry);
}

/** Reads a list of names: words between commas or line breaks. */
export function names(list) {
    return list.split(/[,\n]/).map(trim).filter((name) => name !== "");
}

function entry(text) {
    const [left, value] = splitOnce(text, "=") ?? [text, "true"];
    const [service, name] = splitOnce(left, ":")?.map(trim) ?? ["*", trim(left)];
    if (name === "" || service === "") {
        throw new Mistake(
            `\`${text}\` is no permission: write \`name\`, \`name=value\` or \`service:name=value\``,
        );
    }
    return { service: service === "*" ? null : service, name, value: valueOf(trim(value)) };
}

const WHOLE = /^-?0*[0-9]{1,19}$/;
const NUMBER = /^(-?[0-9]+\.?[0-9]*|-\.[0-9]+)([eE][-+]?[0-9]+)?$/;
const MOST = 2n ** 63n;

function valueOf(text) {
    if (text === "true" || text === "false") return { tag: "boolean", val: text === "true" };
    if (text === "null" || /^["[{]/.test(text)) return { tag: "json", val: text };
    if (WHOLE.test(text)) {
        const whole = BigInt(text);
        if (-MOST <= whole && whole < MOST) return integer(whole);
    }
    // `Number` by itself would read more, `0x10` for example.
    if (NUMBER.test(text) && Number.isFinite(Number(text))) return { tag: "number", val: Number(text) };
    return { tag: "text", val: text };
}

// The bindings hand an integer over as a JavaScript number, which is exact up to 2^53 only. A larger one
// goes as JSON text, and comes out in the token with all its digits.
function integer(whole) {
    const number = Number(whole);
    return Number.isSafeInteger(number)
        ? { tag: "integer", val: number }
        : { tag: "json", val: whole.toString() };
}

/** Cuts a list at the commas and line breaks that stand outside of quotes, brackets and braces. */
function split(list) {
    const parts = [];
    let [start, depth, quoted] = [0, 0, false];
    for (let at = 0; at < list.length; at += 1) {
        const character = list[at];
        if (!MARKS.has(character)) continue;
        if (character === '"') {
            quoted = !quoted;
        } else if (quoted) {
            // What follows a backslash is part of the quoted text, a quotation mark too.
            if (character === "\\") at += 1;
        } else if (character === "[" || character === "{") {
            depth += 1;
        } else if (character === "]" || character === "}") {
            if (depth === 0) throw new Mistake(`\`${character}\` closes nothing`);
            depth -= 1;
        } else if (depth === 0 && character !== "\\") {
            parts.push(list.slice(start, at));
            start = at + 1;
        }
    }
    if (quoted) throw new Mistake("a quotation mark is not closed");
    if (depth > 0) throw new Mistake("a bracket or brace is not closed");
    parts.push(list.slice(start));
    return parts.map(trim).filter((part) => part !== "");
}

// A set, as most characters are none of these: comparing each with all of them takes half as much fuel again.
const MARKS = new Set('"\\[]{},\n');
