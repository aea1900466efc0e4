// Certified OpenID providers (oidc-provider) in many configurations, each at its own path on one port of loopback, for
// the gateway's tests.
//
//   node providers.mjs < configurations
//
// The first line of stdin is a JSON list of configurations: `path` (the issuer is the origin and this path), `client`
// (members of the client's registration), `options` (members of the provider's configuration), `features`, `jwks` (names
// of algorithms with keys). Prints `listening ORIGIN` when ready. A line `rotate PATH` replaces the keys of one provider,
// and is answered by `rotated PATH`. Ends when stdin is closed, so that it never outlives the test that started it.
//
// A user who signs in as NAME has the address NAME@example.org, verified unless the name begins with `unverified`.
//
// Providers with the feature `backchannelLogout` send logout tokens to the gateway. Its configured address is that of a
// proxy, so a line `gateway http://127.0.0.1:PORT` sets the address of its listener. Each logout token prints a line
// `told STATUS`.

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

import { generateJwk } from './keys.mjs';

const KINDS = {
  RS: ['rsa', { modulusLength: 2048 }],
  PS: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  ES384: ['ec', { namedCurve: 'P-384' }],
  ES512: ['ec', { namedCurve: 'P-521' }],
  Ed: ['ed25519', {}],
};
const pairs = new Map();
let generation = 0;
let gateway = null;

function key(alg, fresh) {
  const [kind, options] = KINDS[alg] ?? KINDS[alg.slice(0, 2)];
  const kept = `${kind} ${options.namedCurve ?? ''} ${fresh ? generation : ''}`;
  if (!pairs.has(kept)) {
    pairs.set(kept, generateJwk(kind, options));
  }
  return { ...pairs.get(kept), alg, use: 'sig', kid: `${alg}-${fresh ? generation : 0}` };
}

// The data of each provider, by path. A provider that gets new keys is a new object that keeps its codes and grants.
const stores = new Map();

class Kept {
  constructor(store, model) {
    this.store = store;
    this.model = model;
  }

  key(id) {
    return `${this.model} ${id}`;
  }

  async upsert(id, payload) {
    this.store.set(this.key(id), payload);
  }

  async find(id) {
    return this.store.get(this.key(id));
  }

  async findByUid(uid) {
    return [...this.store.values()].find((payload) => payload.uid === uid && payload.kind === this.model);
  }

  async consume(id) {
    this.store.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) {
    this.store.delete(this.key(id));
  }

  async revokeByGrantId(grant) {
    for (const [key, payload] of this.store) {
      if (payload.grantId === grant) this.store.delete(key);
    }
  }
}

// Sends a logout token. The library's own dispatcher rejects loopback addresses.
async function notify(url, { dispatcher, ...options }) {
  const called = new URL(url);
  const answer = await fetch(gateway ? new URL(called.pathname + called.search, gateway) : called, options);
  console.log(`told ${answer.status}`);
  return answer;
}

function build(origin, given, fresh) {
  if (!stores.has(given.path)) stores.set(given.path, new Map());
  const provider = new Provider(origin + given.path, {
    adapter: (model) => new Kept(stores.get(given.path), model),
    clients: [{ response_types: ['code'], grant_types: ['authorization_code'], ...given.client }],
    jwks: { keys: [...new Set(given.jwks ?? ['RS256'])].map((alg) => key(alg, fresh)) },
    cookies: { keys: ['only for tests'] },
    pkce: { required: () => true },
    claims: {
      openid: ['sub'],
      email: ['email', 'email_verified'],
      profile: ['name', 'picture', 'groups'],
      acr: null,
    },
    conformIdTokenClaims: false,
    acrValues: ['gold'],
    pairwiseIdentifier: async (_, id, client) => `${client.clientId}-${id}`,
    enabledJWA: {
      idTokenSigningAlgValues: [
        'RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA', 'Ed25519', 'HS256',
      ],
      userinfoSigningAlgValues: ['RS256', 'PS256', 'ES256', 'ES512', 'EdDSA', 'Ed25519', 'HS256'],
    },
    features: { devInteractions: { enabled: true }, ...given.features },
    async findAccount(_, id) {
      return {
        accountId: id,
        claims: async () => ({
          sub: id,
          name: `The person ${id}`,
          email: `${id}@example.org`,
          email_verified: !id.startsWith('unverified'),
          picture: `https://img.example.org/${id}.png`,
          groups: ['staff'],
        }),
      };
    },
    ...(given.features?.backchannelLogout && { fetch: notify }),
    ...given.options,
  });
  return provider.callback();
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const configurations = JSON.parse((await lines.next()).value);
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const origin = `http://127.0.0.1:${server.address().port}`;
const handlers = new Map(configurations.map((given) => [given.path, build(origin, given, false)]));

server.on('request', (request, response) => {
  const path = [...handlers.keys()]
    .filter((one) => request.url.startsWith(one.endsWith('/') ? one : `${one}/`))
    .sort((a, b) => b.length - a.length)[0];
  if (path === undefined) {
    response.writeHead(404).end();
    return;
  }
  request.originalUrl = request.url;
  request.url = request.url.slice(path.endsWith('/') ? path.length - 1 : path.length);
  handlers.get(path)(request, response);
});
console.log(`listening ${origin}`);

for (;;) {
  const line = await lines.next();
  if (line.done) {
    process.exit(0);
  }
  const [verb, path] = line.value.split(' ');
  if (verb === 'gateway') {
    gateway = path;
    continue;
  }
  generation += 1;
  handlers.set(path, build(origin, configurations.find((given) => given.path === path), true));
  console.log(`rotated ${path}`);
}
