"""Who has which role, and what a role may do. Knows nothing of the gateway, so that it can be tested by
itself.

| setting | meaning |
|---|---|
| `role.<role>` | what the role may do: a list of permissions (`grammar`) |
| `default` | the roles that everybody has |
| `user-id.<id>` | the roles of the user with this id |
| `username.<name>` | the roles of the user with this username, whatever its case |
| `email.<address>` | the roles of the user with this address, whatever its case |
| `attribute.<name>=<value>` | the roles of all users with this attribute |
| `list-roles-as` | the name of a permission that lists the user's roles |

Roles count in the order id, username, email, attributes, default; of two that give the same permission,
the first decides. So a role given to one person overrides what everybody has.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

import grammar
from grammar import Entry, Json, Mistake

_UNKNOWN = (
    "there is no such setting; they are `default`, `list-roles-as`, and those that begin with `role.`, "
    "`user-id.`, `username.`, `email.` or `attribute.`"
)


@dataclass
class Person:
    """What is known of a user."""

    id: str
    username: str | None = None
    email: str | None = None
    """An address that an upstream provider has verified whose word on addresses the operator trusts."""
    attributes: list[tuple[str, str]] = field(default_factory=list)


Holder = tuple[str, ...]
"""Whom a setting gives roles to: the beginning of the setting's name, and what follows."""


def _username(name: str) -> Holder:
    return ("username", name.lower())


def _email(address: str) -> Holder:
    return ("email", address.lower())


_EVERYBODY: Holder = ("default",)


class Policy:
    """The settings, read and checked."""

    def __init__(self, settings: Iterable[tuple[str, str]]) -> None:
        """Reads the settings: names and values. All of them are checked, so that a mistake is seen at
        the first question and not when the one person comes whom it concerns. A `Mistake` is a
        sentence for the operator that names the setting.
        """
        self._roles: dict[str, list[Entry]] = {}
        self._holders: dict[Holder, list[str]] = {}
        self._list_roles_as = ""
        for name, value in settings:
            try:
                self._read(name, value)
            except Mistake as mistake:
                raise Mistake(f"setting `{name}`: {mistake}") from None
        for (kind, *rest), roles in self._holders.items():
            for role in roles:
                if role not in self._roles:
                    setting = ".".join([kind, "=".join(rest)]) if rest else kind
                    raise Mistake(
                        f"setting `{setting}`: there is no role `{role}`; "
                        f"define it by a setting `role.{role}`"
                    )

    def _read(self, setting: str, value: str) -> None:
        kind, dot, name = setting.partition(".")
        if dot and not name:
            raise Mistake("nothing follows the dot")
        match kind, dot:
            case "default", "":
                holder = _EVERYBODY
            case "list-roles-as", "":
                self._list_roles_as = grammar.trim(value)
                return
            case "role", ".":
                self._roles[name] = grammar.entries(value)
                return
            case "user-id", ".":
                holder = ("user-id", name)
            case "username", ".":
                holder = _username(name)
            case "email", ".":
                if "@" not in name:
                    raise Mistake("this is no email address")
                holder = _email(name)
            case "attribute", ".":
                attribute, equals, wanted = name.partition("=")
                if not equals:
                    raise Mistake("write `attribute.<name>=<value>`")
                holder = ("attribute", attribute, wanted)
            case _:
                raise Mistake(_UNKNOWN)
        # Two spellings of one address, for example: the person has the roles of both.
        self._holders.setdefault(holder, []).extend(grammar.names(value))

    def roles(self, person: Person) -> list[str]:
        """The roles of a person, each once, the first to decide first."""
        holders: list[Holder] = [("user-id", person.id)]
        if person.username is not None:
            holders.append(_username(person.username))
        if person.email is not None:
            holders.append(_email(person.email))
        holders.extend(("attribute", name, value) for name, value in person.attributes)
        holders.append(_EVERYBODY)
        # A dictionary keeps the order in which its keys came.
        return list(dict.fromkeys(role for holder in holders for role in self._holders.get(holder, [])))

    def permissions(self, service: str, person: Person) -> dict[str, bool | int | float | str | Json]:
        """What a person may do in a service: permissions by name, sorted."""
        roles = self.roles(person)
        permissions = {}
        for entry in (entry for role in roles for entry in self._roles[role]):
            if entry.service is None or entry.service == service:
                permissions.setdefault(entry.name, entry.value)
        if self._list_roles_as:
            permissions[self._list_roles_as] = Json(json.dumps(roles, ensure_ascii=False))
        return dict(sorted(permissions.items()))
