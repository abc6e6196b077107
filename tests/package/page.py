"""Does what deploy/CLUSTER.md says: its blocks of `sh` are run in one shell, that of the desk, from which ssh and scp
reach the machines; what a block of `text` behind one shows is what it has to say."""

import os
import re
import subprocess

from harness import ROOT, die_with_parent, eventually

# What stands in for ssh and scp: root's shell on a machine of the test's, whose first process is in $MACHINES/NAME.
SSH = """#!/bin/sh
host=${1#root@}
shift
[ -e "$MACHINES/$host" ] || { echo "ssh: no machine $host" >&2; exit 255; }
exec nsenter --target "$(cat "$MACHINES/$host")" --all --root --wdns=/root -- env -i \\
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh -c "$*"
"""
SCP = """#!/bin/sh
case $1 in
*:*) exec ssh "${1%%:*}" "cat '${1#*:}'" >"$2" ;;
*) exec ssh "${2%%:*}" "cat >'${2#*:}'" <"$1" ;;
esac
"""


class Block:
    def __init__(self, number, place, kind, text):
        self.number, self.place, self.kind, self.text = number, place, kind, text

    def __str__(self):
        return f"block {self.number} ({self.kind}) of {', '.join(filter(None, self.place))}:\n{self.text}"


def blocks_of(path):
    """The fenced blocks of a page. A place is a heading and the bold words, at the start of a line, behind it."""
    blocks, heading, bold = [], "", ""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    for kind, body, title, words in re.findall(r"(?ms)^```(\S*)\n(.*?)^```$|^#+ (.*?)$|^\*\*(.+?)\*\*", text):
        if title:
            heading, bold = title, ""
        elif words:
            bold = words.rstrip(".:,")
        else:
            blocks.append(Block(len(blocks), (heading, bold), kind, body))
    return blocks


def pattern(shown):
    """Of output as a page shows it: "..." is anything, on a line of its own any lines; blanks may be more or fewer."""
    lines = []
    for line in shown.splitlines():
        words = [re.escape(word).replace(r"\.\.\.", ".*?") for word in line.split()]
        lines.append(r"(?:.*\n)*?" if line.strip() == "..." else r"[ \t]*" + r"[ \t]+".join(words) + r"[ \t]*\n")
    return "".join(lines)


class Desk:
    """A folder, and a shell in it that stays open, so that its variables and functions do."""

    def __init__(self, folder):
        self.folder, self.machines, self.run_so_far = folder, os.path.join(folder, ".machines"), 0
        os.makedirs(os.path.join(folder, ".bin"))
        os.makedirs(self.machines)
        for name, text in (("ssh", SSH), ("scp", SCP)):
            path = os.path.join(folder, ".bin", name)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(path, 0o755)
        env = dict(os.environ, MACHINES=self.machines, PATH=f"{folder}/.bin:{os.environ['PATH']}")
        # The first command that fails ends it.
        self.shell = subprocess.Popen(["sh", "-eu"], cwd=folder, env=env, stdin=subprocess.PIPE, text=True,
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                      preexec_fn=die_with_parent)

    def reach(self, name, pid):
        path = os.path.join(self.machines, name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(str(pid))
        os.replace(path + ".new", path)

    def run(self, script, limit=120):
        """What it says, on both streams."""
        self.run_so_far += 1
        path = os.path.join(self.folder, f".block-{self.run_so_far}")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)

        def said():
            with open(path + ".out", encoding="utf-8", errors="replace") as file:
                return file.read()
        self.shell.stdin.write(f". '{path}' >'{path}.out' 2>&1 </dev/null\n: >'{path}.done'\n")
        self.shell.stdin.flush()
        try:
            eventually(lambda: os.path.exists(path + ".done") or self.shell.poll() is not None, limit, "its end")
        except AssertionError as error:
            raise AssertionError(f"{script}\n{error}\n{said()}") from None
        if not os.path.exists(path + ".done"):
            raise AssertionError(f"{script}\nended with exit code {self.shell.returncode}\n{said()}")
        return said()

    def close(self):
        self.shell.kill()
        self.shell.communicate()


class Walk:
    """Through the page, from its first block to its last; none is left out."""

    def __init__(self, page, desk):
        self.blocks, self.desk, self.at = blocks_of(page), desk, 0

    def follow(self, heading, bold=""):
        """Do the next blocks, which are all those of this place. What they said comes back, a text for each."""
        said = []
        while self.at < len(self.blocks) and self.blocks[self.at].place == (heading, bold):
            block = self.blocks[self.at]
            if block.kind == "sh":
                said.append(self.desk.run(block.text))
            elif block.kind == "text" and said:
                if not re.fullmatch(pattern(block.text), said[-1]):
                    raise AssertionError(f"{self.blocks[self.at - 1]}\nshall say\n{block.text}\nand said\n{said[-1]}")
            else:
                raise AssertionError(f"nobody knows what to do with {block}")
            self.at += 1
        if not said:
            raise AssertionError(f"{heading}, {bold} is not next, but {self.next()}")
        return said

    def take(self, kind, heading, bold=""):
        """The text of the next block, which a test does something else with."""
        block = self.blocks[self.at]
        if (block.kind, *block.place) != (kind, heading, bold):
            raise AssertionError(f"{kind} of {heading}, {bold} is not next, but {block}")
        self.at += 1
        return block.text

    def next(self):
        return self.blocks[self.at] if self.at < len(self.blocks) else None
