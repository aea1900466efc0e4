import assert from "node:assert/strict";
import { test } from "node:test";

import { letsIn } from "../src/rule.js";

test("only the domain's people come in", () => {
    assert.equal(letsIn("example.org", "neo@Example.org"), true);
    assert.equal(letsIn("example.org", "neo@not-example.org"), false);
    assert.equal(letsIn("example.org", "neo@example.org.evil.example"), false);
    assert.equal(letsIn("example.org", ""), false);
    assert.equal(letsIn("", "neo@"), false);
});
