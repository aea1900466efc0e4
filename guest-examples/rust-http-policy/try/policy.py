"""A policy service to try the plugin with: it answers as Open Policy Agent would, on port 8181."""

import http.server
import json


def permissions(service, user):
    """The policy: users with a trusted address may read, and Trinity edits the wiki."""
    if not user["email_trusted"]:
        return {}
    if service == "wiki" and user["email"] == "trinity@example.org":
        return {"read": True, "edit": True, "quota": 100}
    return {"read": True}


class Policy(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["input"]
        answer = json.dumps({"result": permissions(asked["service"], asked["user"])}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)


http.server.ThreadingHTTPServer(("127.0.0.1", 8181), Policy).serve_forever()
