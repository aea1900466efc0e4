import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from grammar import Json, Mistake, entries, names


def values(text):
    return {entry.name: entry.value for entry in entries(text)}


class Grammar(unittest.TestCase):
    def same(self, text, expected):
        """Compares types as well: to Python, `True`, `1` and `1.0` are equal."""
        found = values(text)
        self.assertEqual(found, expected)
        self.assertEqual(
            {name: type(value) for name, value in found.items()},
            {name: type(value) for name, value in expected.items()},
        )

    def test_reads_every_kind_of_value(self):
        self.same(
            """
            read, draft=false, quota=-10, share = 0.5, plan=gold member,
            groups=["a, b", {"c": 1}], note="x,\\"y]", none=null, odd=1.2.3, far=infinity
            """,
            {
                "read": True,
                "draft": False,
                "quota": -10,
                "share": 0.5,
                "plan": "gold member",
                "groups": Json('["a, b", {"c": 1}]'),
                "note": Json('"x,\\"y]"'),
                "none": Json("null"),
                "odd": "1.2.3",
                "far": "infinity",
            },
        )

    def test_reads_numbers_as_json_has_them_and_no_others(self):
        self.same(
            "a=007, b=1., c=-.5, d=1e3, e=9223372036854775807, f=9223372036854775808, g=0x10, h=.5, "
            "i=1e400, j=-inf, k=1_0, l=, m=٣",
            {
                "a": 7,
                "b": 1.0,
                "c": -0.5,
                "d": 1000.0,
                "e": 2**63 - 1,
                "f": 2.0**63,
                "g": "0x10",
                "h": ".5",
                "i": "1e400",
                "j": "-inf",
                "k": "1_0",
                "l": "",
                "m": "٣",
            },
        )
        self.same("a=" + "0" * 5000 + "1", {"a": 1})

    def test_reads_services(self):
        self.assertEqual(
            [(entry.service, entry.name) for entry in entries("wiki:edit, *:urn:x:y, read")],
            [("wiki", "edit"), (None, "urn:x:y"), (None, "read")],
        )
        # A colon in a value is part of the value.
        self.same("home=https://example.org", {"home": "https://example.org"})

    def test_trims_unicodes_white_space_and_nothing_else(self):
        self.assertEqual(names("\u0085a\u3000, \u00a0b\t,\x1cc, d\u200b"), ["a", "b", "\x1cc", "d\u200b"])

    def test_says_what_is_wrong(self):
        for text, mistake in [
            ("a, =1", "`=1` is not a permission"),
            ("wiki:", "`wiki:` is not a permission"),
            (":edit", "`:edit` is not a permission"),
            ("a=[1, 2", "a bracket or brace is not closed"),
            ('a="x', "a quotation mark is not closed"),
            ('a="x\\"', "a quotation mark is not closed"),
            ("a=1]", "`]` closes nothing"),
        ]:
            with self.subTest(text), self.assertRaises(Mistake) as raised:
                entries(text)
            self.assertIn(mistake, str(raised.exception))

    def test_names_are_words_between_commas(self):
        self.assertEqual(names(" staff, wiki editor,\n,admin "), ["staff", "wiki editor", "admin"])


if __name__ == "__main__":
    unittest.main()
