"""Plants the user's id wherever a Python guest can keep something, after it has looked there for another's.
An id is `CANARY-` and 16 hex digits.
"""

import builtins
import contextvars
import decimal
import functools
import gc
import os
import random
import re
import sys
import threading
import types
from collections.abc import Callable

from wit_world import exports
from wit_world.imports.types import Permission, Value_Text

_IDS = re.compile("CANARY-[0-9a-f]{16}")

_module_variable: str | None = None
_module_buffer = bytearray(64)
_thread_local = threading.local()
_context_variable = contextvars.ContextVar("planted", default=None)
_random_at_first = random.getstate()


class _Class:
    planted: str | None = None


def _with_default(id: str | None = None, kept: list[str] = []) -> list[str]:  # noqa: B006: it is the point
    if id is not None:
        kept.append(id)
    return kept


def _closure() -> tuple[Callable[[], object], Callable[[str], object]]:
    kept: list[str] = []
    return lambda: kept, kept.append


@functools.lru_cache
def _cached(id: str) -> str:
    return id


def _keep():
    kept = None
    while True:
        kept = (yield kept) or kept


_look_into_closure, _plant_in_closure = _closure()
_generator = _keep()
next(_generator)


def _plant_in_module(id: str) -> None:
    global _module_variable
    _module_variable = id


def _plant_in_buffer(id: str) -> None:
    _module_buffer[: len(id)] = id.encode()


def _plant_a_module(id: str) -> None:
    sys.modules["planted"] = types.ModuleType(id)


def _plant_in_builtin(id: str) -> None:
    original = builtins.ascii
    builtins.ascii = functools.wraps(original)(lambda value, planted=id: original(value))


def _plant_in_decimal(id: str) -> None:
    decimal.getcontext().prec = 7


def _foreign(value: object, own: str) -> bool:
    match value:
        case str():
            text = value
        case bytes() | bytearray():
            text = value.decode("latin-1")
        case _:
            return False
    return "CANARY-" in text and any(id != own for id in _IDS.findall(text))


def _in_any_object(own: str) -> bool:
    """Whether the garbage collector knows an object that holds another's id, whoever left it. It takes forty times
    as long as all others together, so only one user in sixteen gets it.
    """
    return own.endswith("0") and any(_foreign(value, own) for value in gc.get_referents(*gc.get_objects()))


# By name: what an earlier call left there (nothing in a fresh instance), and how to leave something.
_PLACES: dict[str, tuple[Callable[[], object], Callable[[str], object]]] = {
    "buffer": (lambda: any(_module_buffer), _plant_in_buffer),
    "builtin": (lambda: hasattr(builtins.ascii, "__wrapped__"), _plant_in_builtin),
    "builtins": (lambda: hasattr(builtins, "planted"), lambda id: setattr(builtins, "planted", id)),
    "cache": (lambda: _cached.cache_info().currsize, _cached),
    "class": (lambda: _Class.planted, lambda id: setattr(_Class, "planted", id)),
    "closure": (_look_into_closure, _plant_in_closure),
    "context-variable": (_context_variable.get, _context_variable.set),
    "decimal-context": (lambda: decimal.getcontext().prec != 28, _plant_in_decimal),
    "default-argument": (_with_default, _with_default),
    "environment": (lambda: os.environ.get("PLANTED"), lambda id: os.environ.__setitem__("PLANTED", id)),
    "generator": (lambda: next(_generator), lambda id: _generator.send(id)),
    "module": (lambda: _module_variable, _plant_in_module),
    "modules": (lambda: sys.modules.get("planted"), _plant_a_module),
    "path": (lambda: any("CANARY-" in path for path in sys.path), lambda id: sys.path.append(id)),
    "random-state": (lambda: random.getstate() != _random_at_first, random.seed),
    "thread-local": (
        lambda: getattr(_thread_local, "planted", None),
        lambda id: setattr(_thread_local, "planted", id),
    ),
}


class PermissionProvider(exports.PermissionProvider):
    def get_permissions(self, service: str, user_id: str) -> list[Permission]:
        found = [name for name, (look, _) in _PLACES.items() if look()]
        if _in_any_object(user_id):
            found.append("any-object")
        for _, plant in _PLACES.values():
            plant(user_id)
        answer = {
            "user": user_id,
            "looked": " ".join(sorted([*_PLACES, "any-object"])),
            "found": " ".join(sorted(found)),
        }
        return [Permission(name, Value_Text(text)) for name, text in answer.items()]
