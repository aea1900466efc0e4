// The client of @hey-api/openapi-ts: node hey.js URL TOKEN. Exits with 1 if a check fails.

import assert from "node:assert/strict";
import { createClient } from "./hey/client/index.js";
import { authorize, check, jwks, logout, publicKey, update } from "./hey/index.js";

const [url, token] = process.argv.slice(2);
assert(url && token);
const stranger = createClient({ baseUrl: url });
const client = createClient({ baseUrl: url, auth: token });

const out = await check({ client: stranger, query: { next: "https://auth.example.org/" } });
assert(out.data && !out.data.authenticated);
const provider: { url: string } | undefined = out.data.providers["google"];
assert(provider?.url.startsWith("http"));

const refused = await check({ client: stranger, query: { next: "https://evil.example/" } });
assert.equal(refused.response?.status, 400);
assert(refused.error && refused.error.error.length > 0);

const signedIn = await check({ client });
assert(signedIn.data?.authenticated);
const { name, email }: { name: string; email: string | null } = signedIn.data.profile;
assert.deepEqual([name, email], ["Alice", "alice@example.org"]);

const may = await authorize({ client, query: { service: "ok" } });
assert(may.data && "token" in may.data);
const { token: permissionToken, permissions }: { token: string; permissions: Record<string, unknown> } = may.data;
assert.equal(permissionToken.split(".").length, 3);
assert(Object.keys(permissions).length > 0);

const mayNot = await authorize({ client, query: { service: "unknown" } });
assert(mayNot.data && !("token" in mayNot.data));
assert.deepEqual(mayNot.data.permissions, {});

const failed = await authorize({ client, query: { service: "trap" } });
assert.equal(failed.response?.status, 503);
assert(failed.error && "permissions" in failed.error);
assert.deepEqual(failed.error.permissions, {});

for (const _ of [1, 2]) {
  const named = await update({ client, body: { username: "alice_l" } });
  assert(named.data?.success, "the same name again succeeds");
}
const renamed = await update({ client, body: { username: "another" } });
assert(renamed.data && !renamed.data.success);
assert.match(renamed.data.error, /already set/);
const nothing = await update({ client });
assert(nothing.data?.success, "no body, though its type is announced");

const key = await publicKey({ client, parseAs: "text" });
assert(key.data?.startsWith("-----BEGIN PUBLIC KEY-----"));
const keys = await jwks({ client });
assert.equal(keys.data?.keys[0]?.kty, "RSA");

const left = await logout({ client });
assert(left.data?.success);
const after = await check({ client });
assert(after.data && !after.data.authenticated);
