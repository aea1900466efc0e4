import assert from "node:assert/strict";
import { test } from "node:test";

import { mayEdit } from "../src/rule.js";

test("only editors may edit", () => {
    assert.equal(mayEdit("*", "17"), true);
    assert.equal(mayEdit("4, 17", "17"), true);
    assert.equal(mayEdit("4, 17", "1"), false);
    assert.equal(mayEdit("", "17"), false);
});
