"""README.md says what is so: its settings are those of the program, what it links to and names exists."""

import os
import re
import unittest

from harness import ROOT


def text_of(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as file:
        return file.read()


class Readme(unittest.TestCase):
    def test_the_table_of_settings_is_the_programs(self):
        rows = re.findall(r'\{"(\w+)", "([\w-]+)", &\w+,[^{}]*?(NULL|"[^"]*")\}',
                          text_of("common", "conf.c"))
        self.assertGreater(len(rows), 15)
        section, told = "", {}
        table = text_of("README.md").partition("## Configuration")[2]
        for first, name, default in re.findall(r"(?m)^\| ?([\w ]*?) ?\| `([\w-]+)` \| (.*?) ?\|", table):
            section = first or section
            told[section, name] = re.sub("`", "", default)
        for section, name, default in rows:
            with self.subTest(setting=name):
                self.assertIn((section, name), told)
                if default not in ("NULL", '""'):
                    self.assertEqual(told.pop((section, name)), default.strip('"'))
                else:
                    told.pop((section, name))
        self.assertFalse(told, "no such settings")

    def test_what_is_linked_to_or_named_exists(self):
        text = text_of("README.md")
        paths = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r"\b(tests/[\w./]*\w)", text)
        paths += ["tests/servers/" + name for name in re.findall(r"(?<![\w/])test_\w+\.py", text)]
        self.assertGreater(len(paths), 10)
        for path in paths:
            with self.subTest(path=path):
                self.assertTrue(os.path.exists(os.path.join(ROOT, path)))
        parts = {name[3:-3] for name in os.listdir(os.path.join(ROOT, "tests", "parts"))}
        for part in re.findall(r"parts? ((?:`\w+`(?:, | and )?)+)", text):
            for name in re.findall(r"`(\w+)`", part):
                self.assertIn(name, parts)


if __name__ == "__main__":
    unittest.main()
