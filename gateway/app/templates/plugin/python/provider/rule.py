def may_edit(editors: str, user_id: str) -> bool:
    """Whether a user may edit: `editors` lists user ids, separated by commas; `*` is everybody."""
    listed = [editor.strip() for editor in editors.split(",")]
    return "*" in listed or user_id in listed
