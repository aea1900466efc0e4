import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from rule import lets_in


class Rule(unittest.TestCase):
    def test_only_the_domains_people_come_in(self):
        self.assertTrue(lets_in("example.org", "neo@Example.org"))
        self.assertFalse(lets_in("example.org", "neo@not-example.org"))
        self.assertFalse(lets_in("example.org", "neo@example.org.evil.example"))
        self.assertFalse(lets_in("example.org", ""))
        self.assertFalse(lets_in("", "neo@"))
