import assert from "node:assert/strict";
import test from "node:test";

import { Mistake } from "../src/grammar.js";
import { Policy } from "../src/policy.js";

const policy = (settings) => new Policy(Object.entries(settings));
const nobody = { id: "9", username: null, email: null, attributes: [] };
const neo = {
    id: "00000000000000000000000000000001",
    username: "Neo",
    email: "Neo@Example.org",
    attributes: [["team", "red"]],
};

test("roles come from all facts about a person", () => {
    const roles = policy({
        "role.a": "",
        "role.b": "",
        "role.c": "",
        "role.d": "",
        "role.e": "",
        default: "e, a",
        "attribute.team=red": "d",
        "email.neo@EXAMPLE.org": "c",
        "username.neo": "b",
        "user-id.00000000000000000000000000000001": "a",
    });
    assert.deepEqual(roles.roles(neo), ["a", "b", "c", "d", "e"]);
    assert.deepEqual(roles.roles(nobody), ["e", "a"]);
});

test("similar holders do not share roles", () => {
    const roles = policy({
        "role.admin": "all",
        "user-id.00000000000000000000000000000001": "admin",
        "username.root": "admin",
        "email.root@example.org": "admin",
        "attribute.team=red": "admin",
        "attribute.team=red=": "admin",
    });
    for (const imposter of [
        { username: "00000000000000000000000000000001" },
        { email: "root" },
        { id: "root" },
        { email: "root@example.org.evil.example" },
        { attributes: [["team=red", ""]] },
        { attributes: [["team", "red=="]] },
    ]) {
        assert.deepEqual(roles.roles({ ...nobody, ...imposter }), [], JSON.stringify(imposter));
    }
});

test("permissions hold in their service and the first role decides", () => {
    const roles = policy({
        "role.member": "read, wiki:edit=false, quota=1",
        "role.editor": "wiki:edit, quota=5",
        default: "member",
        "username.neo": "editor",
        "list-roles-as": "roles",
    });
    assert.deepEqual(roles.permissions("wiki", neo), [
        { name: "edit", value: { tag: "boolean", val: true } },
        { name: "quota", value: { tag: "integer", val: 5 } },
        { name: "read", value: { tag: "boolean", val: true } },
        { name: "roles", value: { tag: "json", val: '["editor","member"]' } },
    ]);
    assert.deepEqual(roles.permissions("shop", nobody), [
        { name: "quota", value: { tag: "integer", val: 1 } },
        { name: "read", value: { tag: "boolean", val: true } },
        { name: "roles", value: { tag: "json", val: '["member"]' } },
    ]);
});

test("nothing set means nothing allowed", () => {
    assert.deepEqual(policy({}).permissions("wiki", neo), []);
});

test("names of inherited object members are ordinary names", () => {
    assert.throws(() => policy({ default: "constructor" }), Mistake);
    const roles = new Policy([["role.__proto__", "toString"], ["username.constructor", "__proto__"]]);
    assert.deepEqual(roles.permissions("wiki", nobody), []);
    assert.deepEqual(roles.permissions("wiki", { ...nobody, username: "constructor" }), [
        { name: "toString", value: { tag: "boolean", val: true } },
    ]);
});

test("says which setting is wrong", () => {
    for (const [settings, mistake] of [
        [{ "roles.editor": "edit" }, "setting `roles.editor`: there is no such setting"],
        [{ fallback: "x" }, "setting `fallback`: there is no such setting"],
        [{ "role.": "edit" }, "setting `role.`: nothing follows the dot"],
        [{ "role.editor": "edit=[" }, "setting `role.editor`: a bracket or brace is not closed"],
        [{ default: "staff" }, "setting `default`: there is no role `staff`"],
        [{ "username.neo": "staff" }, "setting `username.neo`: there is no role `staff`"],
        [{ "attribute.a=b": "staff" }, "setting `attribute.a=b`: there is no role `staff`"],
        [{ "attribute.team": "x" }, "setting `attribute.team`: write `attribute.<name>=<value>`"],
        [{ "email.neo": "x" }, "setting `email.neo`: this is not an email address"],
    ]) {
        assert.throws(
            () => policy(settings),
            (error) => error instanceof Mistake && error.message.startsWith(mistake),
            mistake,
        );
    }
});
