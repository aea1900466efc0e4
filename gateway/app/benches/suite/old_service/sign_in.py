"""Adds one user the way a sign-in does, and prints the session token that they would be given."""

from dgp_oauth2.controllers import Controllers
from dgp_oauth2.credentials import db_connection_string, private_token
from dgp_oauth2.models import Models

models = Models(db_connection_string)
user = models.create_or_get_user(
    "google:1234", "Alice Liddell", "alice", "alice@example.org", "https://img.example.org/a.png"
)
print(Controllers(models, None)._get_token_from_userid(user["id"], private_token))
