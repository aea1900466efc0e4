"""The models of datamodel-codegen, and httpx: python models.py URL TOKEN. Ends with 1 where something is not as it should
be."""

import sys

import httpx
from gateway_models import (
    Authorized,
    Error,
    JwkSet,
    NoAnswer,
    NotAuthorized,
    Outcome,
    Profile,
    Refused,
    SignedIn,
    SignedOut,
    Succeeded,
    Update,
)
from pydantic import TypeAdapter

url, token = sys.argv[1:]
stranger = httpx.Client(base_url=url)
client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"})
checked: TypeAdapter[SignedIn | SignedOut] = TypeAdapter(SignedIn | SignedOut)
authorized: TypeAdapter[Authorized | NotAuthorized] = TypeAdapter(Authorized | NotAuthorized)

out = checked.validate_json(stranger.get("/auth/check", params={"next": "https://auth.example.org/"}).content)
assert isinstance(out, SignedOut) and out.providers["google"].url
refused = stranger.get("/auth/check", params={"next": "https://evil.example/"})
assert refused.status_code == 400 and Error.model_validate_json(refused.content).error

answer = client.get("/auth/check").json()
signed_in = checked.validate_python(answer)
assert isinstance(signed_in, SignedIn) and signed_in.profile.name == "Alice"
# A later gateway may add members.
assert Profile.model_validate({**answer["profile"], "added_later": [1]}) == signed_in.profile

may = authorized.validate_json(client.get("/auth/authorize", params={"service": "ok"}).content)
assert isinstance(may, Authorized) and may.permissions.root
may_not = authorized.validate_json(client.get("/auth/authorize", params={"service": "unknown"}).content)
assert isinstance(may_not, NotAuthorized) and may_not.permissions.root == {}
failed = client.get("/auth/authorize", params={"service": "trap"})
assert failed.status_code == 503 and NoAnswer.model_validate_json(failed.content).permissions.root == {}


def name(username: str) -> Succeeded | Refused:
    body = Update(username=username).model_dump_json()
    sent = client.post("/auth/update", content=body, headers={"Content-Type": "application/json"})
    return Outcome.model_validate_json(sent.content).root


for _ in range(2):
    assert isinstance(name("alice_l"), Succeeded)
renamed = name("another")
assert isinstance(renamed, Refused) and "already set" in renamed.error

assert client.get("/auth/public-key").text.startswith("-----BEGIN PUBLIC KEY-----")
assert JwkSet.model_validate_json(client.get("/.well-known/jwks.json").content).keys[0].n

assert isinstance(Outcome.model_validate_json(client.post("/auth/logout").content).root, Succeeded)
assert isinstance(checked.validate_json(client.get("/auth/check").content), SignedOut)
