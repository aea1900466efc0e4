// Keys for the providers.

import { createPrivateKey, generateKeyPairSync } from 'node:crypto';

// A new private key as a JWK. It is exported from a copy: Node.js 20 deadlocks when the garbage collector frees the job that
// generated a key while that very key is being exported.
export function generateJwk(kind, options) {
  const { privateKey } = generateKeyPairSync(kind, {
    ...options,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return createPrivateKey(privateKey).export({ format: 'jwk' });
}
