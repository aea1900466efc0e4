"""`{{name}}`: an extension. A sign-in, put to the rule."""

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
    """Gives attributes to set on the user, or raises why they are not let in."""
    domain = config.get("domain") or ""
    if not domain:
        # No verdict: the person is told to try later, and the gateway's log has the sentence.
        raise Err(HookError_Unavailable("the setting `domain` is missing"))
    # An address counts only where the operator trusts whoever has verified it.
    email = event.user.email if event.user.email_trusted else None
    if not lets_in(domain, email or ""):
        # What the person reads in place of being let in.
        raise Err(HookError_Rejected("People with your email address cannot sign in here."))
    return [("email-domain", domain)]
