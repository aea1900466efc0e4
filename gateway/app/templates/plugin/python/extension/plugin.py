"""`{{name}}`: an extension. It applies the rule to a sign-in."""

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import config
from wit_world.imports.types import HookError_Rejected, HookError_Unavailable, SignIn

from rule import lets_in


class OnNewUser(exports.OnNewUser):
    def on_new_user(self, event: SignIn) -> list[tuple[str, str]]:
        return judge(event)


class OnUserLogin(exports.OnUserLogin):
    def on_user_login(self, event: SignIn) -> list[tuple[str, str]]:
        return judge(event)


def judge(event: SignIn) -> list[tuple[str, str]]:
    """Returns attributes to set on the user, or raises the reason for the rejection."""
    domain = config.get("domain") or ""
    if not domain:
        # Fails without a verdict: the page asks the user to try later, and the sentence goes into the gateway's log.
        raise Err(HookError_Unavailable("the setting `domain` is missing"))
    # An address counts only if the operator trusts the party that verified it.
    email = event.user.email if event.user.email_trusted else None
    if not lets_in(domain, email or ""):
        # Rejects the sign-in: the user reads the sentence.
        raise Err(HookError_Rejected("People with your email address cannot sign in here."))
    return [("email-domain", domain)]
