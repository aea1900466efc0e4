"""dgp-oauth2 as its users mount it."""

from flask import Flask

from dgp_oauth2 import make_blueprint

app = Flask(__name__)
# The cache holds the state of sign-ins, of which there are none here.
app.register_blueprint(make_blueprint("auth.example.org", None), url_prefix="/auth/")
