"""How pages and scripts are read, and what nobody is told who does not send the one good token (TOKEN)."""

import os

import schemathesis

TOKEN = os.environ.get("TOKEN")


@schemathesis.deserializer("text/html", "application/javascript")
def text(ctx, response):
    return response.content.decode()


@schemathesis.check
def nothing_for_strangers(ctx, response, case):
    if TOKEN and TOKEN in response.request.headers.get("Authorization", ""):
        return
    if response.status_code == 200 and case.path in ("/auth/check", "/auth/authorize", "/auth/update"):
        for told in (b'"profile"', b'"token"', b'"userid"', b'"success":true'):
            assert told not in response.content, f"a stranger was told {told.decode()}"
