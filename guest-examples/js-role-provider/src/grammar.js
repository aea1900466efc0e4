// The syntax of permissions: `read, wiki:edit, quota=10, groups=["a","b"]`.
//
// An entry is `[service:]permission[=value]`. Commas and line breaks separate entries, except within quotes, brackets
// and braces. A value is `true`, `false`, a number, JSON (if it begins with `"`, `[` or `{`, or is `null`) or else
// text; without a value, it is `true`. The service `*`, or no service, means every service.

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
            `\`${text}\` is not a permission: write \`name\`, \`name=value\` or \`service:name=value\``,
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
    // `Number` alone would accept more, such as `0x10`.
    if (NUMBER.test(text) && Number.isFinite(Number(text))) return { tag: "number", val: Number(text) };
    return { tag: "text", val: text };
}

// The bindings pass an integer as a JavaScript number, which is exact only up to 2^53. A larger one is passed as JSON
// text, and keeps all its digits in the token.
function integer(whole) {
    const number = Number(whole);
    return Number.isSafeInteger(number)
        ? { tag: "integer", val: number }
        : { tag: "json", val: whole.toString() };
}

/** Cuts a list at the commas and line breaks that are outside of quotes, brackets and braces. */
function split(list) {
    const parts = [];
    let [start, depth, quoted] = [0, 0, false];
    for (let at = 0; at < list.length; at += 1) {
        const character = list[at];
        if (!MARKS.has(character)) continue;
        if (character === '"') {
            quoted = !quoted;
        } else if (quoted) {
            // The character after a backslash, even a quotation mark, is part of the quoted text.
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

// A set, because comparing each character with all of these takes 50% more fuel.
const MARKS = new Set('"\\[]{},\n');
