import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from rule import may_edit


class Rule(unittest.TestCase):
    def test_only_editors_may_edit(self):
        self.assertTrue(may_edit("*", "17"))
        self.assertTrue(may_edit("4, 17", "17"))
        self.assertFalse(may_edit("4, 17", "1"))
        self.assertFalse(may_edit("", "17"))
