"""The syntax of permissions: `read, wiki:edit, quota=10, groups=["a","b"]`.

An entry is `[service:]permission[=value]`. Commas and line breaks separate entries, except within quotes, brackets
and braces. A value is `true`, `false`, a number, JSON (if it begins with `"`, `[` or `{`, or is `null`) or else
text; without a value, it is `true`. The service `*`, or no service, means every service.
"""

import math
import re
from dataclasses import dataclass


class Mistake(Exception):
    """A mistake in a setting: the sentence is for the operator. Any other exception is a bug."""


@dataclass(frozen=True)
class Json:
    """The text of a JSON value, which the gateway checks."""

    text: str


@dataclass(frozen=True)
class Entry:
    """One entry of a list of permissions."""

    service: str | None
    """The service that it applies to; `None` means every service."""
    name: str
    value: bool | int | float | str | Json


def entries(text: str) -> list[Entry]:
    """Parses a list of permissions. A `Mistake` says what is wrong, without the name of the setting."""
    return [_entry(part) for part in _split(text)]


def names(text: str) -> list[str]:
    """Reads a list of names: words between commas or line breaks."""
    return [name for name in map(trim, re.split("[,\n]", text)) if name]


# Python also strips U+001C to U+001F, which are not white space in Unicode.
_SPACE = (
    "\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def trim(text: str) -> str:
    """The text without the white space round it."""
    return text.strip(_SPACE)


def _entry(text: str) -> Entry:
    left, has_value, value = text.partition("=")
    service, has_service, name = map(trim, left.partition(":"))
    if not has_service:
        service, name = "*", service
    if not name or not service:
        raise Mistake(
            f"`{text}` is not a permission: write `name`, `name=value` or `service:name=value`"
        )
    return Entry(
        service=None if service == "*" else service,
        name=name,
        value=_value(trim(value)) if has_value else True,
    )


# At most as many digits as 64 bits have. Python rejects thousands of digits, even zeros.
_WHOLE = re.compile(r"(-?)0*([0-9]{1,19})")
# `float` alone would accept more, such as `1_000` and `.5`.
_NUMBER = re.compile(r"(-?[0-9]+\.?[0-9]*|-\.[0-9]+)([eE][-+]?[0-9]+)?")


def _value(text: str) -> bool | int | float | str | Json:
    if text in ("true", "false"):
        return text == "true"
    if text == "null" or text.startswith(('"', "[", "{")):
        return Json(text)
    if found := _WHOLE.fullmatch(text):
        whole = int(found[1] + found[2])
        if -(2**63) <= whole < 2**63:
            return whole
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return number
    return text


# Only the characters that matter for splitting, so that a long list takes no more steps than it has of these.
_MARK = re.compile(r'"(?:[^"\\]+|\\.)*(?P<end>"?)|[\[\]{},\n]', re.DOTALL)


def _split(text: str) -> list[str]:
    """Splits a list at commas and line breaks outside quotes, brackets and braces."""
    parts = []
    start = depth = 0
    for found in _MARK.finditer(text):
        match found[0]:
            case "[" | "{":
                depth += 1
            case "]" | "}" as mark:
                if depth == 0:
                    raise Mistake(f"`{mark}` closes nothing")
                depth -= 1
            case "," | "\n":
                if depth == 0:
                    parts.append(text[start : found.start()])
                    start = found.end()
            case _ if not found["end"]:
                raise Mistake("a quotation mark is not closed")
    if depth > 0:
        raise Mistake("a bracket or brace is not closed")
    parts.append(text[start:])
    return [part for part in map(trim, parts) if part]
