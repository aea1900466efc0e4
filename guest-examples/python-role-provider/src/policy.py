"""The roles of users, and the permissions of roles. Independent of the gateway, so that it can be tested alone.

| setting | meaning |
|---|---|
| `role.<role>` | what the role may do: a list of permissions (`grammar`) |
| `default` | the roles of everyone |
| `user-id.<id>` | the roles of the user with this id |
| `username.<name>` | the roles of the user with this username, ignoring case |
| `email.<address>` | the roles of the user with this address, ignoring case |
| `attribute.<name>=<value>` | the roles of all users with this attribute |
| `list-roles-as` | the name of a permission that lists the user's roles |

Roles are in the order id, username, email, attributes, default. If two roles have the same permission, the first one
counts, so a role of one person overrides the default.
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
    """The facts about a user."""

    id: str
    username: str | None = None
    email: str | None = None
    """An address verified by an upstream provider that the operator trusts with addresses."""
    attributes: list[tuple[str, str]] = field(default_factory=list)


Holder = tuple[str, ...]
"""A holder of roles: the prefix of the setting's name, and the rest."""


def _username(name: str) -> Holder:
    return ("username", name.lower())


def _email(address: str) -> Holder:
    return ("email", address.lower())


_EVERYBODY: Holder = ("default",)


class Policy:
    """The parsed settings."""

    def __init__(self, settings: Iterable[tuple[str, str]]) -> None:
        """Parses the settings: names and values. Checks all of them, so that a mistake shows at the first call, not
        when the person whom it concerns signs in. A `Mistake` is a sentence for the operator that names the
        setting.
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
                    raise Mistake("this is not an email address")
                holder = _email(name)
            case "attribute", ".":
                attribute, equals, wanted = name.partition("=")
                if not equals:
                    raise Mistake("write `attribute.<name>=<value>`")
                holder = ("attribute", attribute, wanted)
            case _:
                raise Mistake(_UNKNOWN)
        # Two settings may be for one holder, for example with two spellings of an address. The person has the roles of
        # both.
        self._holders.setdefault(holder, []).extend(grammar.names(value))

    def roles(self, person: Person) -> list[str]:
        """The roles of a person, without duplicates, in order of precedence."""
        holders: list[Holder] = [("user-id", person.id)]
        if person.username is not None:
            holders.append(_username(person.username))
        if person.email is not None:
            holders.append(_email(person.email))
        holders.extend(("attribute", name, value) for name, value in person.attributes)
        holders.append(_EVERYBODY)
        # A dictionary keeps the order of its keys.
        return list(dict.fromkeys(role for holder in holders for role in self._holders.get(holder, [])))

    def permissions(self, service: str, person: Person) -> dict[str, bool | int | float | str | Json]:
        """The person's permissions in a service, sorted by name."""
        roles = self.roles(person)
        permissions = {}
        for entry in (entry for role in roles for entry in self._roles[role]):
            if entry.service is None or entry.service == service:
                permissions.setdefault(entry.name, entry.value)
        if self._list_roles_as:
            permissions[self._list_roles_as] = Json(json.dumps(roles, ensure_ascii=False))
        return dict(sorted(permissions.items()))
