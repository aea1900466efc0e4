"""A permission provider with roles. The gateway's configuration has the roles of users, and the permissions of roles in
each service.

| module | what it does |
|---|---|
| `policy` | the settings: reads and checks them, and finds a person's roles and their permissions |
| `grammar` | the syntax of a list of permissions |
| here | passes the gateway's question to the policy |
"""

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.permission_provider import ProviderError_Failed
from wit_world.imports import config, users
from wit_world.imports.types import (
    Permission,
    User,
    Value,
    Value_Boolean,
    Value_Integer,
    Value_Json,
    Value_Number,
    Value_Text,
)

from grammar import Json, Mistake
from policy import Person, Policy


class PermissionProvider(exports.PermissionProvider):
    """What the component exports. The class has to have this name."""

    def get_permissions(self, service: str, user_id: str) -> list[Permission]:
        # `failed` means that a retry will not help. The gateway answers 503, signs nothing and logs the sentence, so a
        # mistake in the settings never gives anyone more permissions.
        try:
            policy = Policy(config.all())
        except Mistake as mistake:
            raise Err(ProviderError_Failed(str(mistake))) from None
        user = users.get(user_id)
        if user is None:
            raise Err(ProviderError_Failed(f"there is no user with the id {user_id}"))
        permissions = policy.permissions(service, _person(user))
        return [Permission(name, _value(value)) for name, value in permissions.items()]


def _person(user: User) -> Person:
    """The facts about a user that the policy needs."""
    return Person(
        id=user.id,
        username=user.username,
        email=user.email if user.email_trusted else None,
        attributes=user.attributes,
    )


def _value(value: bool | int | float | str | Json) -> Value:
    match value:
        case bool():
            return Value_Boolean(value)
        case int():
            return Value_Integer(value)
        case float():
            return Value_Number(value)
        case str():
            return Value_Text(value)
        case Json(text):
            return Value_Json(text)
