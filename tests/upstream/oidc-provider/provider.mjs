// A certified OpenID provider (oidc-provider) on a free port of loopback, for the gateway's tests.
//
//   node provider.mjs CLIENT_ID CLIENT_SECRET REDIRECT_URI
//
// Prints `listening http://127.0.0.1:PORT` (its issuer) when ready, and ends when stdin is closed, so
// that it never outlives the test that started it. A user who signs in as NAME has the
// address NAME@example.org, verified unless the name begins with `unverified`.
//
// It signs users out, and sends logout tokens to the gateway. The gateway's configured address is that of a proxy, so a
// line `gateway http://127.0.0.1:PORT` on stdin sets the address of its listener. For each logout token it prints a
// line
// `told STATUS`.

import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

import { generateJwk } from './keys.mjs';

const [clientId, clientSecret, redirectUri] = process.argv.slice(2);
if (!redirectUri) {
  console.error('usage: node provider.mjs CLIENT_ID CLIENT_SECRET REDIRECT_URI');
  process.exit(2);
}

function key(alg) {
  const jwk = alg === 'ES256'
    ? generateJwk('ec', { namedCurve: 'P-256' })
    : generateJwk('rsa', { modulusLength: 2048 });
  return { ...jwk, alg, use: 'sig', kid: `${alg}-1` };
}

// The issuer contains the port, so the port must be known first.
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

let gateway = null;
const provider = new Provider(issuer, {
  clients: [{
    client_id: clientId,
    client_secret: clientSecret,
    redirect_uris: [redirectUri],
    response_types: ['code'],
    grant_types: ['authorization_code'],
    id_token_signed_response_alg: process.env.ID_TOKEN_ALG ?? 'RS256',
    post_logout_redirect_uris: [redirectUri.replace('oauth_callback', 'logout_callback')],
    backchannel_logout_uri: redirectUri.replace('oauth_callback', 'backchannel_logout'),
    backchannel_logout_session_required: true,
  }],
  jwks: { keys: [key('RS256'), key('ES256')] },
  cookies: { keys: ['only for tests'] },
  pkce: { required: () => true },
  claims: {
    openid: ['sub'],
    email: ['email', 'email_verified'],
    profile: ['name', 'picture', 'groups'],
  },
  // True, as in the specification: name and address come from the userinfo endpoint only. False, as Google
  // does it: they are in the ID token, so that no second request is needed.
  conformIdTokenClaims: process.env.CONFORM === 'true',
  features: { devInteractions: { enabled: true }, backchannelLogout: { enabled: true } },
  // The library's own dispatcher rejects loopback addresses.
  async fetch(url, { dispatcher, ...options }) {
    const called = new URL(url);
    const answer = await fetch(gateway ? new URL(called.pathname + called.search, gateway) : called, options);
    console.log(`told ${answer.status}`);
    return answer;
  },
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
});

server.on('request', provider.callback());
console.log(`listening ${issuer}`);
const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => { gateway = line.split(' ')[1]; });
lines.on('close', () => process.exit(0));
