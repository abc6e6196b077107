"""A terminal for tests of what fills one: tmux without anybody at it, on a socket of its own."""

import os
import shlex
import shutil
import subprocess
import tempfile

from harness import die_with_parent, eventually, seconds


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
        # No daemon: it ends with this process, whatever ends that, and all that runs in it with it.
        self.server = subprocess.Popen([*self.command(), "-D", "-u", "-f", conf], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.env(),
                                       preexec_fn=die_with_parent)
        eventually(lambda: os.path.exists(os.path.join(self.folder, "socket")), 20, "tmux runs")
        self.tmux("new-session", "-d", "-x", str(columns), "-y", str(rows), " ".join(map(shlex.quote, words)))

    def command(self):
        return ["tmux", "-S", os.path.join(self.folder, "socket")]

    @staticmethod
    def env():
        return {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "screen", "TMUX": ""}

    def tmux(self, *words):
        done = subprocess.run([*self.command(), *words], check=False, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=seconds(60), env=self.env())
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
        self.server.terminate()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
