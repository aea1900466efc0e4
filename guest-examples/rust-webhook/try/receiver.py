"""A receiver to try the plugin with, on port 9000: it verifies each message and shows what is new."""

import base64
import hashlib
import hmac
import http.server
import pathlib
import time

text = pathlib.Path(__file__).with_name("secret").read_text().strip()
SECRET = base64.b64decode(text.removeprefix("whsec_"))
seen = set()


def is_genuine(headers, body):
    """https://www.standardwebhooks.com: signed over id, time and body, five minutes ago at most."""
    identity, sent_at = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(sent_at)) > 300:
        return False
    signed = f"{identity}.{sent_at}.".encode() + body
    right = "v1," + base64.b64encode(hmac.digest(SECRET, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(right, given) for given in headers["webhook-signature"].split())


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        genuine = is_genuine(self.headers, body)
        if genuine and self.headers["webhook-id"] not in seen:
            # The same message may arrive again: the answer is the same, and the work is done once.
            seen.add(self.headers["webhook-id"])
            print(body.decode(), flush=True)
        self.send_response(204 if genuine else 401)
        self.end_headers()


http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Receiver).serve_forever()
