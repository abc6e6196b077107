"""The manual pages say what the programs take, neither less nor more; so does the completion."""

import os
import re
import shutil
import subprocess
import unittest

from harness import AGICALL, BIN, ROOT, TALLYCTL, TALLYD, ServerTest, call, run

PAGES = ("agicall.1", "tally.conf.5", "tallyctl.8", "tallyd.8")


def page(name):
    """A page's source, its hyphens and fonts as a reader sees them."""
    with open(os.path.join(ROOT, "deploy", "man", name), encoding="utf-8") as file:
        text = file.read()
    return re.sub(r"\\f[BIR]", "", text).replace(r"\-", "-")


def section(text, name):
    return re.search(rf'(?ms)^\.S[HS] "?{re.escape(name)}"?\n(.*?)(?=^\.SH|\Z)', text).group(1)


class Manual(ServerTest):
    def test_pages_are_without_a_warning(self):
        if not shutil.which("groff"):
            self.skipTest("groff is not here")
        for name in PAGES:
            done = run("groff", "-man", "-Tutf8", "-ww", "-z", os.path.join(ROOT, "deploy", "man", name))
            self.assertEqual((done.stdout, done.stderr), ("", ""), name)

    def test_tallyctl_s_commands_and_options_are_those_of_its_page(self):
        told = section(page("tallyctl.8"), "COMMANDS")
        table = run(TALLYCTL, "--help").stdout.partition("Commands:")[2].partition("Options")[0]
        names = re.findall(r"(?m)^  ([a-z]+) ", table)
        self.assertEqual(re.findall(r"(?m)^\.TP\n\.\w+ ([a-z]+)", told), names)
        options = set(re.findall(r"(?m)^  (?:-\w, |    )(--[a-z-]+)", run(TALLYCTL, "--help").stdout))
        self.assertEqual(set(re.findall(r"--[a-z-]+", section(page("tallyctl.8"), "OPTIONS"))) - {"--help"},
                         options - {"--help"})
        for name in names:
            own = run(TALLYCTL, name, "--help").stdout.partition("and those of every")[0]
            entry = re.search(rf"(?ms)^\.TP\n\.\w+ {name}\b(.*?)(?=^\.TP|^\.SS|\Z)", told).group(1)
            self.assertEqual(set(re.findall(r"--[a-z-]+", entry)),
                             set(re.findall(r"(?m)^  (?:-\w, |    )(--[a-z-]+)", own)), name)

    def test_tallyd_s_and_agicall_s_options_are_those_of_their_pages(self):
        self.assertEqual(set(re.findall(r"(?m)^  (-\w)", run(TALLYD, "-h").stdout)),
                         set(re.findall(r"(?m)^\.TP\n\.\w+ (-\w)", page("tallyd.8"))))
        with open(os.path.join(ROOT, "server", "agicall_options.c"), encoding="utf-8") as file:
            known = set(re.findall(r'\{"([\w-]+)", \w+_argument', file.read()))
        told = page("agicall.1")
        self.assertEqual(set(re.findall(r"--([a-z][a-z-]*)", section(told, "OPTIONS"))), known)
        run(AGICALL, "-h")

    def test_the_settings_are_those_of_the_page_with_their_defaults(self):
        with open(os.path.join(ROOT, "common", "conf.c"), encoding="utf-8") as file:
            rows = re.findall(r'\{"(\w+)", "([\w-]+)", &\w+,[^{}]*?(NULL|"[^"]*")\}', file.read())
        told, where = {}, None
        for line in page("tally.conf.5").splitlines():
            if line.startswith(".S"):
                where = (re.match(r"\.SS \[(\w+)", line) or [None, None])[1]
            entry = re.match(r'\.BR ([\w-]+) " = (.*)"$', line)
            if entry and where not in ("peer", "script"):
                told[where, entry[1]] = (re.search(r" \((.*)\)$", entry[2]) or [None, ""])[1]
        wanted = {(where, name): "" if default == "NULL" else default.strip('"')
                  for where, name, default in rows}
        self.assertEqual(told, wanted)

    def test_what_is_installed_is_there(self):
        tree = os.path.dirname(BIN)
        if not os.path.exists(os.path.join(tree, "cmake_install.cmake")):
            self.skipTest("not a build tree")
        with open(os.path.join(tree, "deploy", "cmake_install.cmake"), encoding="utf-8") as file:
            text = file.read()
        for name in PAGES:
            self.assertIn(f"/deploy/man/{name}", text)
        self.assertIn("/deploy/completion/tallyctl", text)

    def complete(self, *words):
        """What bash offers for the last word."""
        script = os.path.join(ROOT, "deploy", "completion", "tallyctl")
        line = " ".join(f"'{word}'" for word in words)
        done = subprocess.run(
            ["bash", "--norc", "-c", f'PATH="{BIN}:$PATH"; . "{script}"; COMP_WORDS=({line}); '
             f'COMP_CWORD={len(words) - 1}; _tallyctl tallyctl "{words[-1]}" "{words[-2]}"; '
             'printf "%s\\n" "${COMPREPLY[@]}"'], capture_output=True, text=True, check=False, timeout=30)
        self.assertEqual(done.stderr, "")
        return done.stdout.split()

    def test_completion_knows_commands_options_values_and_counters(self):
        if not shutil.which("bash"):
            self.skipTest("bash is not here")
        node = self.node(scripts="").start()
        for name in ("votes", "vote-1", "hits"):
            call(node, "count", [name])
        at = ("tallyctl", "-d", node.state)
        self.assertEqual(self.complete("tallyctl", "sta"), ["status"])
        self.assertIn("fsck", self.complete("tallyctl", ""))
        self.assertEqual(self.complete("tallyctl", "help", "ver"), ["verify"])
        self.assertEqual(self.complete(*at, "counters", "--s"), ["--sort"])
        self.assertEqual(self.complete(*at, "backup", "--w"), ["--with-key"])
        self.assertEqual(self.complete(*at, "backup", node.folder + "/st"), [node.state])
        self.assertEqual(self.complete(*at, "restore", "--key", node.conf[:-2]), [node.conf])
        self.assertEqual(self.complete(*at, "counters", "--sort", ""), ["name", "total"])
        self.assertEqual(self.complete("tallyctl", "get", "--sort"), [])
        self.assertEqual(self.complete(*at, "get", "vo"), ["vote-1", "votes"])
        self.assertEqual(self.complete(*at, "log", "--counter", "h"), ["hits"])
        self.assertEqual(self.complete("tallyctl", "config", "s"), ["show"])
        self.assertEqual(self.complete("tallyctl", "-d", node.folder + "/st"), [node.state])
        node.kill()
        self.assertEqual(self.complete(*at, "get", "vo"), ["vote-1", "votes"])


if __name__ == "__main__":
    unittest.main()
