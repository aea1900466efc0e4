"""`{{name}}`: a permission provider. It applies the rule to the gateway's question."""

from wit_world import exports
from wit_world.imports import config
from wit_world.imports.types import Permission, Value_Boolean

from rule import may_edit


class PermissionProvider(exports.PermissionProvider):
    def get_permissions(self, service: str, user_id: str) -> list[Permission]:
        editors = config.get("editors") or ""
        return [Permission("edit", Value_Boolean(may_edit(editors, user_id)))]
