"""A terminal for tests of what fills one: tmux without anybody at it, on a socket of its own."""

import contextlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time

from harness import eventually


class Terminal:
    """A shell script in a window of so many columns and rows."""

    def __init__(self, script, columns=80, rows=24, env=None):
        self.folder = tempfile.mkdtemp(prefix="tally-tmux-")
        conf = os.path.join(self.folder, "conf")
        with open(conf, "w", encoding="utf-8") as file:
            file.write("set -g status off\nset -g escape-time 10\nset -g remain-on-exit on\n"
                       "set -g default-terminal screen\n")
        inside = {"LC_ALL": "C.UTF-8", "TERM": "screen", **(env or {})}
        words = ["env", *(f"{name}={value}" for name, value in inside.items()), "sh", "-c", script]
        self.tmux("-u", "-f", conf, "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  " ".join(map(shlex.quote, words)))

    def tmux(self, *words):
        done = subprocess.run(["tmux", "-S", os.path.join(self.folder, "socket"), *words], check=False,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60,
                              env={**os.environ, "LC_ALL": "C.UTF-8", "TERM": "screen", "TMUX": ""})
        if done.returncode != 0:
            raise AssertionError(f"tmux {words}: {done.stderr}")
        return done.stdout

    def lines(self):
        """What it shows, a string for each row."""
        return self.tmux("capture-pane", "-p").split("\n")[:-1]

    def text(self):
        return "\n".join(self.lines())

    def looks(self):
        """The same with the codes of colours and boldness."""
        return self.tmux("capture-pane", "-p", "-e", "-N")

    def shows(self, wanted, limit=20):
        """Wait until wanted(text) is true; what that gives."""
        try:
            return eventually(lambda: wanted(self.text()), limit, "the terminal shows it")
        except AssertionError as error:
            raise AssertionError(f"{error}; it shows:\n{self.text()}") from None

    def type(self, *keys):
        """Names as tmux has them: q, Escape, C-c, Down."""
        self.tmux("send-keys", *keys)

    def resize(self, columns, rows):
        self.tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def pid(self):
        """The shell's."""
        return int(self.tmux("display-message", "-p", "#{pane_pid}"))

    def close(self):
        with contextlib.suppress(AssertionError):
            self.tmux("kill-server")
        for _ in range(50):
            if not os.path.exists(os.path.join(self.folder, "socket")):
                break
            time.sleep(0.02)
        shutil.rmtree(self.folder, ignore_errors=True)
