// The client of openapi-typescript and openapi-fetch: node fetch.js URL TOKEN. Exits with 1 if a
// check fails.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [url, token] = process.argv.slice(2);
assert(url && token);
const stranger = createClient<paths>({ baseUrl: url });
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${token}` } });

const out = await stranger.GET("/auth/check", { params: { query: { next: "https://auth.example.org/" } } });
assert(out.data && !out.data.authenticated);
const provider: { url: string } | undefined = out.data.providers["google"];
assert(provider?.url.startsWith("http"));

const refused = await stranger.GET("/auth/check", { params: { query: { next: "https://evil.example/" } } });
assert.equal(refused.response.status, 400);
assert(refused.error && refused.error.error.length > 0);

const signedIn = await client.GET("/auth/check");
assert(signedIn.data?.authenticated);
const { name, email, username }: { name: string; email: string | null; username?: string } = signedIn.data.profile;
assert.deepEqual([name, email], ["Alice", "alice@example.org"]);

const may = await client.GET("/auth/authorize", { params: { query: { service: "ok" } } });
assert(may.data && "token" in may.data);
const { token: permissionToken, permissions }: { token: string; permissions: Record<string, unknown> } = may.data;
assert.equal(permissionToken.split(".").length, 3);
assert(Object.keys(permissions).length > 0);

const mayNot = await client.GET("/auth/authorize", { params: { query: { service: "unknown" } } });
assert(mayNot.data && !("token" in mayNot.data));
assert.deepEqual(mayNot.data.permissions, {});

const failed = await client.GET("/auth/authorize", { params: { query: { service: "trap" } } });
assert.equal(failed.response.status, 503);
assert(failed.error && "permissions" in failed.error);
assert.deepEqual(failed.error.permissions, {});

for (const _ of [1, 2]) {
  const named = await client.POST("/auth/update", { body: { username: "alice_l" } });
  assert(named.data?.success, "the same name again succeeds");
}
const renamed = await client.POST("/auth/update", { body: { username: "another" } });
assert(renamed.data && !renamed.data.success);
assert.match(renamed.data.error, /already set/);
const again = await client.GET("/auth/check");
assert(again.data?.authenticated && again.data.profile.username === "alice_l", username ?? "it was not set before");

const key = await client.GET("/auth/public-key", { parseAs: "text" });
assert(key.data?.startsWith("-----BEGIN PUBLIC KEY-----"));
const keys = await client.GET("/.well-known/jwks.json");
assert.equal(keys.data?.keys[0]?.kty, "RSA");

const left = await client.POST("/auth/logout");
assert(left.data?.success);
const after = await client.GET("/auth/check");
assert(after.data && !after.data.authenticated);
