"""The client of openapi-python-client: python client.py URL TOKEN. Ends with 1 where something is not as it should be."""

import sys

from gateway_client import AuthenticatedClient, Client
from gateway_client.api.keys import jwks, public_key
from gateway_client.api.tokens import authorize, check, logout, update
from gateway_client.models import (
    Authorized,
    Error,
    LogoutSucceeded,
    NoAnswer,
    NotAuthorized,
    Refused,
    SignedIn,
    SignedOut,
    Succeeded,
    Update,
)

url, token = sys.argv[1:]
# The generator declares the optional token as required. The generated code works without it.
stranger: AuthenticatedClient = Client(base_url=url)  # type: ignore[assignment]
client = AuthenticatedClient(base_url=url, token=token)

out = check.sync(client=stranger, next_="https://auth.example.org/")
assert isinstance(out, SignedOut)
assert out.providers["google"].url.startswith("http")

refused = check.sync_detailed(client=stranger, next_="https://evil.example/")
assert refused.status_code == 400
assert isinstance(refused.parsed, Error) and refused.parsed.error

signed_in = check.sync(client=client)
assert isinstance(signed_in, SignedIn)
assert (signed_in.profile.name, signed_in.profile.email) == ("Alice", "alice@example.org")

may = authorize.sync(client=client, service="ok")
assert isinstance(may, Authorized)
assert may.token.count(".") == 2 and may.permissions.additional_properties

may_not = authorize.sync(client=client, service="unknown")
assert isinstance(may_not, NotAuthorized)
assert may_not.permissions.additional_properties == {}

failed = authorize.sync_detailed(client=client, service="trap")
assert failed.status_code == 503
assert isinstance(failed.parsed, NoAnswer) and failed.parsed.error
assert failed.parsed.permissions.additional_properties == {}

for _ in range(2):
    assert isinstance(update.sync(client=client, body=Update(username="alice_l")), Succeeded)
renamed = update.sync(client=client, body=Update(username="another"))
assert isinstance(renamed, Refused) and "already set" in renamed.error

key = public_key.sync(client=client)
assert isinstance(key, str) and key.startswith("-----BEGIN PUBLIC KEY-----")
keys = jwks.sync(client=client)
assert keys is not None and not isinstance(keys, Error) and keys.keys[0].kty == "RSA"

assert isinstance(logout.sync(client=client), LogoutSucceeded)
assert isinstance(check.sync(client=client), SignedOut)
