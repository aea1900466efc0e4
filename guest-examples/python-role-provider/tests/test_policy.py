import sys
import unittest
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from grammar import Json, Mistake
from policy import Person, Policy

NOBODY = Person(id="9")
NEO = Person(
    id="00000000000000000000000000000001",
    username="Neo",
    email="Neo@Example.org",
    attributes=[("team", "red")],
)


def policy(settings):
    return Policy(settings.items())


class Roles(unittest.TestCase):
    def test_come_from_all_facts_about_a_person(self):
        roles = policy(
            {
                "role.a": "",
                "role.b": "",
                "role.c": "",
                "role.d": "",
                "role.e": "",
                "default": "e, a",
                "attribute.team=red": "d",
                "email.neo@EXAMPLE.org": "c",
                "username.neo": "b",
                "user-id.00000000000000000000000000000001": "a",
            }
        )
        self.assertEqual(roles.roles(NEO), ["a", "b", "c", "d", "e"])
        self.assertEqual(roles.roles(NOBODY), ["e", "a"])

    def test_similar_holders_do_not_share_roles(self):
        roles = policy(
            {
                "role.admin": "all",
                "user-id.00000000000000000000000000000001": "admin",
                "username.root": "admin",
                "email.root@example.org": "admin",
                "attribute.team=red": "admin",
                "attribute.team=red=": "admin",
            }
        )
        for imposter in [
            replace(NOBODY, username="00000000000000000000000000000001"),
            replace(NOBODY, email="root"),
            replace(NOBODY, id="root"),
            replace(NOBODY, email="root@example.org.evil.example"),
            replace(NOBODY, attributes=[("team=red", "")]),
            replace(NOBODY, attributes=[("team", "red==")]),
        ]:
            with self.subTest(imposter):
                self.assertEqual(roles.roles(imposter), [])


class Permissions(unittest.TestCase):
    def test_hold_in_their_service_and_the_first_role_decides(self):
        roles = policy(
            {
                "role.member": "read, wiki:edit=false, quota=1",
                "role.editor": "wiki:edit, quota=5",
                "default": "member",
                "username.neo": "editor",
                "list-roles-as": "roles",
            }
        )
        self.assertEqual(
            list(roles.permissions("wiki", NEO).items()),
            [("edit", True), ("quota", 5), ("read", True), ("roles", Json('["editor", "member"]'))],
        )
        self.assertEqual(
            list(roles.permissions("shop", NOBODY).items()),
            [("quota", 1), ("read", True), ("roles", Json('["member"]'))],
        )

    def test_nothing_set_means_nothing_allowed(self):
        self.assertEqual(policy({}).permissions("wiki", NEO), {})


class Mistakes(unittest.TestCase):
    def test_name_the_setting(self):
        for settings, mistake in [
            ({"roles.editor": "edit"}, "setting `roles.editor`: there is no such setting"),
            ({"fallback": "x"}, "setting `fallback`: there is no such setting"),
            ({"default.x": "x"}, "setting `default.x`: there is no such setting"),
            ({"role.": "edit"}, "setting `role.`: nothing follows the dot"),
            ({"role.editor": "edit=["}, "setting `role.editor`: a bracket or brace is not closed"),
            ({"default": "staff"}, "setting `default`: there is no role `staff`"),
            ({"username.neo": "staff"}, "setting `username.neo`: there is no role `staff`"),
            ({"attribute.a=b": "staff"}, "setting `attribute.a=b`: there is no role `staff`"),
            ({"attribute.team": "x"}, "setting `attribute.team`: write `attribute.<name>=<value>`"),
            ({"email.neo": "x"}, "setting `email.neo`: this is not an email address"),
        ]:
            with self.subTest(mistake), self.assertRaises(Mistake) as raised:
                policy(settings)
            self.assertIn(mistake, str(raised.exception))


if __name__ == "__main__":
    unittest.main()
