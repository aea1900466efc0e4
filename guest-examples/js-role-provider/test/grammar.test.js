import assert from "node:assert/strict";
import test from "node:test";

import { entries, Mistake, names } from "../src/grammar.js";

const values = (list) => Object.fromEntries(entries(list).map(({ name, value }) => [name, value]));
const boolean = (val) => ({ tag: "boolean", val });
const integer = (val) => ({ tag: "integer", val });
const number = (val) => ({ tag: "number", val });
const text = (val) => ({ tag: "text", val });
const json = (val) => ({ tag: "json", val });

test("reads every kind of value", () => {
    const list = `
        read, draft=false, quota=-10, share = 0.5, plan=gold member,
        groups=["a, b", {"c": 1}], note="x,\\"y]", none=null, odd=1.2.3, far=infinity
    `;
    assert.deepEqual(values(list), {
        read: boolean(true),
        draft: boolean(false),
        quota: integer(-10),
        share: number(0.5),
        plan: text("gold member"),
        groups: json('["a, b", {"c": 1}]'),
        note: json('"x,\\"y]"'),
        none: json("null"),
        odd: text("1.2.3"),
        far: text("infinity"),
    });
});

test("reads numbers as JSON has them, and no others", () => {
    const list = "a=007, b=1., c=-.5, d=1e3, e=9223372036854775808, f=0x10, g=.5, h=1e400, i=-Infinity, j=1_0, k=";
    assert.deepEqual(values(list), {
        a: integer(7),
        b: number(1),
        c: number(-0.5),
        d: number(1000),
        e: number(2 ** 63),
        f: text("0x10"),
        g: text(".5"),
        h: text("1e400"),
        i: text("-Infinity"),
        j: text("1_0"),
        k: text(""),
    });
});

test("keeps the digits that a JavaScript number would lose", () => {
    assert.deepEqual(values("a=9007199254740991, b=9007199254740993, c=-9223372036854775808"), {
        a: integer(9007199254740991),
        b: json("9007199254740993"),
        c: json("-9223372036854775808"),
    });
});

test("reads services", () => {
    const read = (list) => entries(list).map(({ service, name }) => [service, name]);
    assert.deepEqual(read("wiki:edit, *:urn:x:y, read"), [["wiki", "edit"], [null, "urn:x:y"], [null, "read"]]);
    // A colon in a value is part of the value.
    assert.deepEqual(values("home=https://example.org"), { home: text("https://example.org") });
});

test("trims Unicode's white space, and nothing else", () => {
    assert.deepEqual(names("\u0085a\u3000, \u00a0b\t,\ufeffc, d\u200b"), ["a", "b", "\ufeffc", "d\u200b"]);
});

test("says what is wrong", () => {
    for (const [list, mistake] of [
        ["a, =1", "`=1` is not a permission"],
        ["wiki:", "`wiki:` is not a permission"],
        [":edit", "`:edit` is not a permission"],
        ["a=[1, 2", "a bracket or brace is not closed"],
        ['a="x', "a quotation mark is not closed"],
        ['a="x\\"', "a quotation mark is not closed"],
        ["a=1]", "`]` closes nothing"],
    ]) {
        assert.throws(
            () => entries(list),
            (error) => error instanceof Mistake && error.message.startsWith(mistake),
            list,
        );
    }
});

test("names are words between commas", () => {
    assert.deepEqual(names(" staff, wiki editor,\n,admin "), ["staff", "wiki editor", "admin"]);
});
