"""What tallyctl says of a node that runs, of one that does not, and of one that is damaged."""

import json
import os
import re
import signal
import subprocess
import threading
import unittest

from harness import (TALLYCTL, Callers, ServerTest, call, eventually, run)


def snapshot(folder):
    """Every file below folder with its size, times and bytes."""
    found = {}
    for path, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(path, name)
            status = os.lstat(file)
            content = b""
            if os.path.isfile(file):
                with open(file, "rb") as opened:
                    content = opened.read()
            found[file] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


class Tallyctl(ServerTest):
    def counted(self, **settings):
        """A node that has counted three times 2 on votes, and once on hits."""
        node = self.node(scripts="", **settings).start()
        for _ in range(3):
            call(node, "count", ["votes", "by=2", "tag=web"])
        call(node, "count", ["hits"])
        return node

    def test_a_running_node_and_its_files_say_the_same(self):
        node = self.counted()
        online = [node.ctl(*words).stdout for words in (("get", "votes"), ("counters",), ("key",))]
        self.assertEqual(online[0], "6\n")
        self.assertEqual(online[1].split(), ["hits", "1", "votes", "6"])
        self.assertRegex(online[2], r"^key +([0-9a-f]{64})\nfingerprint +([0-9a-f]{4}-){7}[0-9a-f]{4}\n\n"
                         r"In the other nodes' tally.conf:\n\n"
                         r"\[peer test\]\naddress = HOST:PORT\nkey = \1\n$")
        running = json.loads(node.ctl("--json", "status").stdout)
        node.kill()
        offline = [node.ctl(*words).stdout for words in (("get", "votes"), ("counters",), ("key",))]
        self.assertEqual(online, offline)
        done = node.ctl("--json", "status", check=False)
        self.assertEqual(done.returncode, 3)
        stopped = json.loads(done.stdout)
        self.assertTrue(running["running"])
        self.assertFalse(stopped["running"])
        for member in ("node", "key", "cluster", "position", "counters", "log"):
            self.assertEqual(running[member], stopped[member], member)

    def test_status_of_a_node_that_does_not_run_says_so_with_exit_code_3(self):
        node = self.counted()
        self.assertIn("process      ", node.ctl("status").stdout)
        node.stop()
        done = node.ctl("status", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("not running", done.stdout)

    def test_nothing_that_is_asked_changes_the_files(self):
        node = self.counted()
        node.kill()
        before = snapshot(node.state)
        for words in (["status"], ["get", "votes"], ["counters"], ["key"], ["log"], ["verify"],
                      ["checkpoint"]):
            node.ctl(*words, check=False)
        self.assertEqual(snapshot(node.state), before)

    def test_the_configuration_names_the_state_directory_too(self):
        node = self.counted()
        self.assertEqual(run(TALLYCTL, "-c", node.conf, "get", "hits").stdout, "1\n")

    def test_counters_are_chosen_by_a_pattern(self):
        node = self.node(scripts="").start()
        for name in ("vote-1", "vote-2", "vote-10", "veto"):
            call(node, "count", [name])
        names = lambda *words: [line.split()[0]
                                for line in node.ctl("counters", *words).stdout.splitlines()]
        self.assertEqual(names(), ["veto", "vote-1", "vote-10", "vote-2"])
        self.assertEqual(names("vote-?"), ["vote-1", "vote-2"])
        self.assertEqual(names("*1*"), ["vote-1", "vote-10"])
        self.assertEqual(names("veto"), ["veto"])
        self.assertEqual(names("--limit", "2"), ["veto", "vote-1"])
        self.assertEqual(names("--reverse", "--limit=2"), ["vote-2", "vote-10"])
        call(node, "count", ["vote-10", "by=5"])
        call(node, "count", ["vote-1", "by=2"])
        self.assertEqual(names("--sort", "total"), ["veto", "vote-2", "vote-1", "vote-10"])
        self.assertEqual(names("vote-*", "--sort=total", "--reverse", "--limit=1"), ["vote-10"])
        self.assertEqual(json.loads(node.ctl("--json", "counters", "v*0").stdout),
                         {"name": "vote-10", "total": 6})
        for pattern in ("a/*", "\u00e4*", "\udcff*", "[", "x" * 4000):
            done = node.ctl("counters", pattern, check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""), pattern)
            self.assertIn("no counter's name is like", done.stderr)
        done = node.ctl("counters", "votes*", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("votes*", done.stderr)

    def test_get_takes_several_names_and_says_which_is_none(self):
        node = self.counted()
        self.assertEqual([line.split() for line in node.ctl("get", "votes", "hits").stdout.splitlines()],
                         [["votes", "6"], ["hits", "1"]])
        self.assertEqual(json.loads(node.ctl("--json", "get", "hits").stdout),
                         {"name": "hits", "total": 1})
        for _ in range(2):
            done = node.ctl("get", "vote", "hits", check=False)
            self.assertEqual((done.returncode, done.stdout.split()), (1, ["hits", "1"]))
            self.assertIn("did you mean votes?", done.stderr)
            done = node.ctl("get", "a/b\033", check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""))
            self.assertIn("tallyctl: a/b?: expected a counter's name", done.stderr)
            if node.pids("state"):
                node.kill()

    def test_the_key_alone_or_its_fingerprint(self):
        node = self.counted()
        told = node.ctl("key").stdout
        fingerprint = node.ctl("key", "--fingerprint").stdout.strip()
        self.assertRegex(fingerprint, r"^([0-9a-f]{4}-){7}[0-9a-f]{4}$")
        self.assertIn(f"fingerprint  {fingerprint}\n", told)
        self.assertEqual(json.loads(node.ctl("--json", "key").stdout)["fingerprint"], fingerprint)

    def test_more_counters_than_one_answer_holds_come_all_and_once(self):
        node = self.node(scripts="[script many]\nstep = count c-${arg1}\n").start()

        def some(numbers):
            for number in numbers:
                call(node, "many", [f"{number:04}"])
        threads = [threading.Thread(target=some, args=(range(i, 2100, 7),)) for i in range(7)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wanted = [f"c-{number:04}" for number in range(2100)]
        lines = node.ctl("counters").stdout.splitlines()
        self.assertEqual([line.split()[0] for line in lines], wanted)
        self.assertEqual(node.ctl("counters", "c-*9").stdout.split()[::2], wanted[9::10])

    def test_a_checkpoint_is_on_disk_when_tallyctl_ends(self):
        node = self.counted()
        before = set(os.listdir(os.path.join(node.state, "log")))
        self.assertEqual(node.ctl("checkpoint").stdout, "checkpoint 1 is on disk\n")
        made = set(os.listdir(os.path.join(node.state, "log"))) - before
        self.assertEqual([name for name in made if name.endswith(".checkpoint")],
                         ["0000000000000001.checkpoint"])
        self.assertIn("nothing has changed", node.ctl("checkpoint").stdout)
        node.kill()
        done = node.ctl("checkpoint", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("not running", done.stderr)

    def test_log_lists_every_count_with_what_was_said(self):
        node = self.counted()
        lines = [json.loads(line) for line in node.ctl("--json", "log").stdout.splitlines()]
        self.assertEqual([(line["counter"], line["amount"], line["number"], line["tag"])
                          for line in lines],
                         [("votes", 2, 2, "web"), ("votes", 2, 4, "web"), ("votes", 2, 6, "web"),
                          ("hits", 1, 1, "")])
        self.assertEqual([line["block"] for line in lines], [1, 2, 3, 4])
        self.assertEqual(len({line["stream"] for line in lines}), 1)
        self.assertEqual(len({line["id"] for line in lines}), 4)
        self.assertEqual(len(node.ctl("log").stdout.splitlines()), 4)

    def test_a_tag_cannot_speak_to_the_terminal(self):
        node = self.node(scripts="").start()
        call(node, "count", ["hits", "tag=\u009b31m\\\u00e4\u202ey"])
        for locale, shown in (("C", "\\xc2\\x9b31m\\\\\\xc3\\xa4\\xe2\\x80\\xaey"),
                              ("C.UTF-8", "\\xc2\\x9b31m\\\\\u00e4\\xe2\\x80\\xaey")):
            done = run(TALLYCTL, "-d", node.state, "log", env={"LC_ALL": locale})
            self.assertTrue(done.stdout.endswith(f" {shown}\n"), done.stdout)
        done = node.ctl("--json", "log").stdout
        self.assertTrue(done.isascii())
        self.assertEqual(json.loads(done)["tag"], "\u009b31m\\\u00e4\u202ey")

    def test_the_log_of_a_node_under_load_is_never_taken_for_damaged(self):
        node = self.node(scripts="", log="segment-size = 1m\ncheckpoint-size = 1m\n").start()
        with Callers(node) as callers:
            eventually(lambda: len(callers.calls) > 20, 20, "calls are counted")
            for round_ in range(20):
                report = json.loads(node.ctl("--json", "verify").stdout)
                self.assertTrue(report["good"])
                node.ctl("log")
                if round_ % 5 == 4:
                    node.ctl("checkpoint")
            self.assertGreater(report["counts"], 20)

    def test_verify_names_the_place_of_a_changed_byte(self):
        node = self.counted()
        node.stop()
        self.assertIn("good", node.ctl("verify").stdout)
        path = os.path.join(node.state, "log", "0000000000000001.log")
        with open(path, "r+b") as file:
            content = file.read()
            at = content.index(b"votes")
            file.seek(at)
            file.write(b"vetos")
        done = node.ctl("verify", check=False)
        self.assertEqual(done.returncode, 1)
        found = re.search(r"BAD: log/0000000000000001.log, offset (\d+):", done.stdout)
        self.assertIsNotNone(found, done.stdout)
        self.assertTrue(64 <= int(found.group(1)) < at)
        report = json.loads(node.ctl("--json", "verify", check=False).stdout)
        self.assertFalse(report["good"])
        self.assertEqual(report["offset"], int(found.group(1)))

    def test_a_state_process_that_is_being_restarted_is_waited_for(self):
        node = self.counted()
        for _ in range(5):
            pid = node.state_pid()
            os.kill(pid, signal.SIGKILL)
            self.assertEqual(node.ctl("get", "votes").stdout, "6\n")
            node.state_pid(other_than=pid)

    def test_a_node_that_does_not_answer_is_exit_code_3(self):
        node = self.counted()
        os.kill(node.state_pid(), signal.SIGSTOP)
        done = node.ctl("get", "votes", check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("does not answer", done.stderr)

    def test_a_wrong_command_line_is_exit_code_2_and_says_what_was_meant(self):
        for words, said in ((["stauts"], "did you mean status?"), (["frobnicate"], "no command"),
                            ([], "missing"), (["get"], "needs more"), (["key", "x"], "too many"),
                            (["-c", "a", "-d", "b", "key"], "give one"),
                            (["--jsno", "key"], "did you mean --json?"),
                            (["--json=1", "key"], "takes no value"), (["-x", "key"], "-x is no option"),
                            (["key", "--dir"], "--dir needs a value"),
                            (["-d", "a", "-d", "b", "key"], "given twice"),
                            (["key", "--color=blue"], "expected one of: auto always never"),
                            (["key", "--limit", "3"], "key does not take --limit"),
                            (["counters", "--sort", "size"], "expected one of: name total"),
                            (["help", "stauts"], "did you mean status?"),
                            (["x" * 5000], "expected at most 4096 bytes"),
                            (["key", "y" * 5000], "expected at most 4096 bytes"),
                            (["counters", "--limit", "9" * 5000], "expected at most 4096 bytes"),
                            (["\033[31m\u202e\udcff"], "tallyctl: ?[31m"),
                            (["-c", "/nonexistent/tally.conf", "key"], "cannot be read")):
            done = run(TALLYCTL, *words, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertIn(said, done.stderr)

    def test_a_folder_that_is_no_state_directory_is_refused(self):
        done = run(TALLYCTL, "-d", self.folder, "status", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no state directory", done.stderr)
        done = run(TALLYCTL, "-d", os.path.join(self.folder, "none"), "status", check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No such file", done.stderr)

    def test_an_output_that_cannot_be_written_is_an_error_told_once(self):
        node = self.counted()
        for words in (["counters"], ["log"], ["status"], ["--json", "log"], ["--help"]):
            with open("/dev/full", "w", encoding="ascii") as full:
                done = subprocess.run([TALLYCTL, "-d", node.state, *words], stdout=full,
                                      stderr=subprocess.PIPE, text=True, check=False)
            self.assertEqual((done.returncode, done.stderr), (
                1, "tallyctl: cannot write the output: No space left on device\n"), words)

    def test_a_reader_who_goes_away_ends_it_without_a_word(self):
        node = self.counted()
        for _ in range(200):
            call(node, "count", ["votes", "tag=" + "x" * 60])
        for words in (["log"], ["--json", "log"], ["counters"], ["--help"]):
            reading, writing = os.pipe()
            os.close(reading)
            done = subprocess.run([TALLYCTL, "-d", node.state, *words], stdout=writing,
                                  stderr=subprocess.PIPE, text=True, check=False)
            os.close(writing)
            self.assertEqual((done.returncode, done.stderr), (1, ""), words)

    def test_a_closed_output_is_never_another_file(self):
        node = self.counted()
        node.kill()
        before = snapshot(node.state)
        done = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", TALLYCTL, "-d", node.state, "log"],
                              stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("Bad file descriptor", done.stderr)
        self.assertEqual(snapshot(node.state), before)


def commands():
    """The table's names, as help prints them."""
    text = run(TALLYCTL, "--help").stdout.partition("Commands:")[2].partition("Options")[0]
    return re.findall(r"(?m)^  ([a-z]+) ", text)


class Usage(ServerTest):
    def test_each_command_has_help_with_an_example_in_80_columns(self):
        names = commands()
        self.assertGreater(len(names), 8)
        for name in names:
            text = run(TALLYCTL, name, "--help").stdout
            self.assertEqual(run(TALLYCTL, "help", name).stdout, text)
            self.assertRegex(text, rf"^usage: tallyctl .*\b{name}\b")
            self.assertRegex(text, rf"(?s)\nExample.*\n  tallyctl {name}\b")
            self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertEqual(run(TALLYCTL, "help").stdout, run(TALLYCTL, "--help").stdout)
        self.assertLessEqual(max(map(len, run(TALLYCTL, "--help").stdout.splitlines())), 80)

    def test_the_options_that_help_names_are_taken_and_no_others(self):
        general = set(re.findall(r"--[a-z]+", run(TALLYCTL, "--help").stdout.partition("Options")[2]))
        every = general | {option for name in commands()
                           for option in re.findall(r"--[a-z]+", run(TALLYCTL, name, "--help").stdout)}
        for name in commands():
            text = run(TALLYCTL, name, "--help").stdout.partition("and those of every")[0]
            own = set(re.findall(r"(?m)^  (?:-\w, |    )(--[a-z]+)", text))
            for option in every - general - own:
                done = run(TALLYCTL, name, f"{option}=1", check=False)
                if "takes no value" in done.stderr:
                    done = run(TALLYCTL, name, option, check=False)
                elif value := re.search(r"expected one of: (\w+)", done.stderr):
                    done = run(TALLYCTL, name, option, value.group(1), check=False)
                self.assertEqual(done.returncode, 2, (name, option))
                self.assertIn(f"{name} does not take {option}", done.stderr)


if __name__ == "__main__":
    unittest.main()
