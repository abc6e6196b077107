"""README.md and CAPACITY.md say what is so: their settings are those of the program, what they link to and name exists."""

import os
import re
import tempfile
import unittest

from harness import ROOT, TALLYD, run


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


def settings():
    """(section, name) of each that the program knows."""
    return re.findall(r'(?m)^    \{"(\w+)", "([\w-]+)", &', text_of("common", "conf.c"))


class Capacity(unittest.TestCase):
    def setUp(self):
        self.text = text_of("deploy", "CAPACITY.md")

    def good(self, lines):
        """Does the program take a file with these?"""
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(f"[node]\nstate = state\n{lines}\n")
            file.flush()
            return run(TALLYD, "-n", "-c", file.name, check=False).returncode == 0

    def number_in(self, pattern, *path):
        return int(re.search(pattern, text_of(*path)).group(1))

    def test_what_it_sets_is_taken_and_within_the_unit_s_limit(self):
        blocks = re.findall(r"(?s)```ini\n(.*?)```", self.text)
        self.assertTrue(blocks)
        for block in blocks:
            self.assertTrue(self.good(block), block)
            calls = int(re.search(r"(?m)^calls = (\d+)$", block).group(1))
            workers = int(re.search(r"(?m)^workers = (\d+)$", block).group(1))
            self.assertGreaterEqual(calls * workers, 100000)
            self.assertLessEqual(calls + self.number_in(r"DESCRIPTORS = (\d+)", "server", "reload.c"),
                                 self.number_in(r"LimitNOFILE=(\d+)", "deploy", "systemd", "tally.service.in"))

    def test_a_setting_s_greatest_value_is_taken_and_a_greater_one_is_not(self):
        rows = re.findall(r"(?m)^\| `([a-z-]+)` \| (\d+)([a-z]?) \|", self.text)
        self.assertGreater(len(rows), 4)
        for name, number, unit in rows:
            with self.subTest(setting=name):
                section = next(section for section, known in settings() if known == name)
                self.assertTrue(self.good(f"[{section}]\n{name} = {number}{unit}"))
                self.assertFalse(self.good(f"[{section}]\n{name} = {int(number) + 1}{unit}"))

    def test_settings_scripts_and_parts_of_the_bench_that_it_names_exist(self):
        bench = text_of("tests", "bench", "run.sh")
        parts = set(re.findall(r"(?m)^#                      (\w+) ", bench))
        self.assertEqual(parts, set(re.findall(r'"(\w+)": \w+', text_of("tests", "bench", "bench.py")
                                               .partition("PARTS = {")[2].partition("}")[0])))
        commands = re.findall(r"(?m)^\|.*\| `(\w+)` \|$", self.text)
        self.assertGreater(len(commands), 10)
        self.assertLessEqual(set(commands), parts)
        known = parts | {name for _, name in settings()} | {"hits", "count", "auto"}
        words = set(re.findall(r"`([a-z]+(?:-[a-z]+)*)(?: = \d+)?`", self.text))
        self.assertLessEqual(words, known)
        for path in re.findall(r"\b(?:tests|examples|deploy)/[\w./-]*\w", self.text):
            path = path.replace("examples/", "deploy/")
            self.assertTrue(os.path.exists(os.path.join(ROOT, path)), path)

    def test_its_numbers_are_the_program_s(self):
        def there(number, text):
            self.assertIn(text.format(f"{number:,}"), self.text)

        there(1 << self.number_in(r"CORE_REQUESTS = 1 << (\d+)", "replica", "core.h"), "{} / counts/s")
        there(self.number_in(r"AGI_SAY_MAX = (\d+)", "server", "agi.h"), "A number above {} is said")
        there(self.number_in(r"DESCRIPTORS = (\d+)", "server", "reload.c"), "`calls` + {} in a worker")
        there(self.number_in(r"LimitNOFILE=(\d+)", "deploy", "systemd", "tally.service.in"), "; {} in the unit")
        there(self.number_in(r"CONF_PEERS_MAX = (\d+)", "common", "conf.h"), "({} peers)")
        there(self.number_in(r'"log", "counters", .*?(\d+), "', "common", "conf.c"), "at most {} |")


if __name__ == "__main__":
    unittest.main()
