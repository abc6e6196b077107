"""tallyctl backup and restore: what was answered before a backup began is in it, however the node is loaded, and a
node that is made of it goes on from there. Nothing that is half looks whole."""

import json
import os
import pty
import random
import shutil
import signal
import stat
import subprocess
import time
import unittest

from cluster import Cluster
from harness import AGICALL, TALLYCTL, Callers, ServerTest, call, eventually, run
from test_tallyctl import snapshot

ROTATING = "segment-size = 1m\ncheckpoint-size = 1m"


class Backups(ServerTest):
    def path(self, name):
        return os.path.join(self.folder, name)

    def backup(self, node, name="backup", *words):
        done = node.ctl("--json", "backup", self.path(name), *words)
        return json.loads(done.stdout)

    def key(self, node):
        return os.path.join(node.state, "node.key")

    def restore(self, state, *words, check=True):
        return run(TALLYCTL, "-d", state, "restore", *words, check=check)

    def restored(self, node, backup="backup", *words):
        """Another node, of a backup of this one; not yet started."""
        other = self.node("restored", scripts="")
        self.restore(other.state, self.path(backup), "--key", self.key(node), *(words or ("--skip", "0")))
        return other

    def load(self, node, calls=4000):
        run(AGICALL, "--load", "--calls", str(calls), "--concurrency", "64", "--expect", "close",
            node.url("count"), "votes")

    def counted(self, calls=20, **settings):
        node = self.node(scripts="", **settings).start()
        for _ in range(calls):
            call(node, "count", ["votes"])
        return node


class UnderLoad(Backups):
    def test_every_count_answered_before_it_began_is_in_it_and_the_restored_node_goes_on(self):
        node = self.counted(1)
        with Callers(node, 8, args=("votes",)) as callers:
            eventually(lambda: len(callers.calls) > 200, 30, "calls are answered")
            answered = sorted(callers.numbers())
            told = self.backup(node)
        self.assertConsecutive([1] + callers.numbers())
        self.assertGreater(told["counts"], answered[-1] - 1)
        at = ("-d", self.path("backup"))
        run(TALLYCTL, *at, "verify")
        held = [json.loads(line)["number"] for line in run(TALLYCTL, *at, "--json", "log").stdout.splitlines()]
        self.assertEqual(held, list(range(1, told["counts"] + 1)))
        self.assertFalse(set(answered) - set(held))
        other = self.restored(node)
        self.assertEqual(other.total("votes"), told["counts"])
        node.stop()
        other.start()
        heard = call(other, "count", ["votes"])
        self.assertEqual((heard.number, heard.variables["TALLY_STATUS"]), (told["counts"] + 1, "FINAL"))
        other.ctl("verify")
        last = json.loads(other.ctl("--json", "log", "--limit", "1").stdout)
        self.assertNotEqual(last["stream"], told["position"]["stream"], "a new stream")
        self.assertEqual(last["block"], 1)

    def test_segments_that_come_and_go_meanwhile_disturb_no_backup_and_it_no_call(self):
        node = self.counted(1, log=ROTATING)
        first, number = [], 0
        for _ in range(20):
            load = subprocess.Popen([AGICALL, "--load", "--calls", "20000", "--concurrency", "64", "--expect", "close",
                                     node.url("count"), "votes"], stdout=subprocess.PIPE, text=True)
            self.addCleanup(load.kill)
            while load.poll() is None:
                before = node.total("votes")
                told = self.backup(node, f"b{number}")
                held = int(run(TALLYCTL, "-d", self.path(f"b{number}"), "get", "votes").stdout)
                self.assertGreaterEqual(held, before)
                first.append(told["first"])
                number += 1
            self.assertEqual(load.wait(), 0, load.stdout.read())
            load.stdout.close()
            if len(set(first)) > 2:
                break
        self.assertGreater(len(set(first)), 2, "old segments were removed meanwhile")
        other = self.restored(node, f"b{number - 1}")
        self.assertEqual(other.total("votes"), held)
        other.start()
        self.assertEqual(call(other, "count", ["votes"]).number, held + 1)

    def test_killed_at_any_moment_it_leaves_nothing_that_looks_whole_and_the_next_one_clears_up(self):
        node = self.counted(1)
        self.load(node, 20000)
        begun = time.monotonic()
        self.backup(node, "whole")
        taken = time.monotonic() - begun
        kept = 0
        for i in range(30):
            process = subprocess.Popen([TALLYCTL, "-d", node.state, "backup", self.path(f"b{i % 2}")],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            time.sleep(random.uniform(0, taken))
            process.kill()
            process.wait()
            if os.path.exists(self.path(f"b{i % 2}")):
                kept += 1
                run(TALLYCTL, "-d", self.path(f"b{i % 2}"), "verify")
                shutil.rmtree(self.path(f"b{i % 2}"))
        self.assertLess(kept, 30)
        for name in ("b0", "b1"):
            told = self.backup(node, name)
            self.assertEqual(told["counts"], 20001)
        self.assertEqual(sorted(os.listdir(self.folder)), ["b0", "b1", "n", "whole"])

    def test_killed_before_it_has_its_name_it_is_cleared_away_and_a_backup_of_such_a_name_is_not(self):
        node = self.counted(1)
        self.backup(node, "b")
        self.assertEqual(stat.S_IMODE(os.stat(self.path("b")).st_mode), 0o700)
        os.rename(self.path("b"), self.path("b.new"))
        done = node.ctl("backup", self.path("b"), check=False)
        self.assertIn("b.new is not empty", done.stderr)
        run(TALLYCTL, "-d", self.path("b.new"), "verify")
        os.chmod(self.path("b.new"), 0o1700)  # as it is until it has its name
        self.backup(node, "b")
        self.assertEqual(sorted(os.listdir(self.folder)), ["b", "n"])
        run(TALLYCTL, "-d", self.path("b"), "verify")

    def test_ctrl_c_takes_away_what_was_begun(self):
        node = self.counted(1)
        self.load(node, 20000)
        for number in (signal.SIGINT, signal.SIGTERM):
            interrupted = False
            while not interrupted:  # unless it is through already
                process = subprocess.Popen([TALLYCTL, "-d", node.state, "backup", self.path("b")],
                                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                eventually(lambda: os.path.exists(self.path("b.new")) or process.poll() is not None, 10, "it begins")
                process.send_signal(number)
                said = process.communicate(timeout=30)
                interrupted = process.returncode != 0
                if not interrupted:
                    shutil.rmtree(self.path("b"))
            self.assertEqual(process.returncode, 1, said)
            self.assertIn("interrupted", said[1])
            self.assertEqual(os.listdir(self.folder), ["n"])


class Backup(Backups):
    def test_of_a_stopped_node_it_is_the_same(self):
        node = self.counted()
        node.kill()
        before = snapshot(node.state)
        told = self.backup(node)
        self.assertEqual((told["counts"], told["with_key"], snapshot(node.state)), (20, False, before))
        other = self.restored(node).start()
        self.assertEqual(call(other, "count", ["votes"]).number, 21)
        self.assertFalse(os.path.exists(os.path.join(other.state, "restored")))

    def test_the_private_key_is_in_it_only_where_it_is_asked_for(self):
        node = self.counted()
        self.backup(node, "without")
        self.backup(node, "with", "--with-key")
        with open(self.key(node), encoding="ascii") as file:
            secret = file.read().split()[1]
        for name, wanted in (("without", False), ("with", True)):
            texts = b"".join(row[3] for row in snapshot(self.path(name)).values())
            self.assertEqual(secret.encode() in texts, wanted, name)
            for path, _, names in os.walk(self.path(name)):
                for file in [path] + [os.path.join(path, n) for n in names]:
                    self.assertFalse(os.stat(file).st_mode & 0o077, file)
        self.restore(self.path("again"), self.path("with"), "--skip", "0")
        with open(os.path.join(self.path("again"), "node.key"), encoding="ascii") as file:
            self.assertIn(secret, file.read())

    def test_tallyd_does_not_run_in_a_backup(self):
        node = self.counted()
        self.backup(node, "b", "--with-key")
        before = snapshot(self.path("b"))
        code, said = self.node("m", state=self.path("b")).refused()
        self.assertNotEqual(code, 0)
        self.assertIn("is a backup: tallyctl restore makes a state directory of it", said)
        self.assertEqual(snapshot(self.path("b")), before)

    def test_a_backup_is_looked_at_as_what_it_is(self):
        node = self.counted()
        self.backup(node)
        at = ("-d", self.path("backup"))
        said = run(TALLYCTL, *at, "fsck").stdout
        self.assertRegex(said, r"\Awhole: 20 counts.*\nIt is a backup: tallyctl restore makes a state directory of it")
        self.assertEqual(json.loads(run(TALLYCTL, *at, "--json", "fsck").stdout)["next_start"], "refuses")
        done = run(TALLYCTL, *at, "backup", self.path("copy"), check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("this is a backup already", done.stderr)

    def test_nothing_that_is_there_is_written_over(self):
        node = self.counted()
        os.mkdir(self.path("empty"))
        os.symlink("nowhere", self.path("link"))
        with open(self.path("file"), "w", encoding="ascii"):
            pass
        for name in ("empty", "link", "file", "empty/"):
            done = node.ctl("backup", self.path(name), check=False)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("is there already", done.stderr)
        os.makedirs(self.path("x.new/log"))
        done = node.ctl("backup", self.path("x"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("x.new is not empty: it holds log", done.stderr)
        self.assertTrue(os.path.isdir(self.path("x.new/log")), "it is somebody's")
        done = node.ctl("backup", self.path("no/such/folder"), check=False)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(sorted(os.listdir(self.folder)), ["empty", "file", "link", "n", "x.new"])

    def test_a_full_target_is_told_and_nothing_is_left(self):
        node = self.counted()
        disk = self.small_disk("3m")
        done = node.ctl("backup", os.path.join(disk, "b"), check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"no space left for .*/disk/b: the backup takes 16 MiB; nothing of it was left")
        self.assertEqual(os.listdir(disk), [])
        self.backup(node)
        done = self.restore(os.path.join(disk, "state"), self.path("backup"), "--new-key", "--skip", "0", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"no space left for .*/disk/state; nothing of it was left")
        self.assertEqual(os.listdir(disk), [])

    def test_of_a_node_that_holds_nothing_or_is_damaged_there_is_none(self):
        node = self.node(scripts="").start()
        done = node.ctl("backup", self.path("b"), check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("nothing was ever counted here", done.stderr)
        for _ in range(20):
            call(node, "count", ["votes"])
        path = os.path.join(node.state, "log", "0000000000000001.log")
        with open(path, "r+b") as file:
            file.seek(700)
            byte = file.read(1)
            file.seek(700)
            file.write(bytes([byte[0] ^ 4]))
        done = node.ctl("backup", self.path("b"), check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"damaged.*0000000000000001\.log, offset \d+|0000000000000001\.log: damaged")
        self.assertEqual(os.listdir(self.folder), ["n"])


class Restore(Backups):
    def test_a_damaged_backup_is_refused_naming_the_place_and_nothing_is_made(self):
        node = self.counted(log=ROTATING)
        self.load(node, 3000)
        node.ctl("checkpoint")
        call(node, "count", ["votes"])
        self.backup(node)
        with open(os.path.join(self.path("backup"), "log", "0000000000000001.log"), "rb") as file:
            used = len(file.read().rstrip(b"\0"))

        def flip(name, offset):
            def damage(folder):
                with open(os.path.join(folder, name), "r+b") as file:
                    file.seek(offset)
                    byte = file.read(1)
                    file.seek(offset)
                    file.write(bytes([byte[0] ^ 1]))
            return damage

        def cut_last_block(folder):
            """As if the backup were of before it: all that is there fits."""
            with open(os.path.join(folder, "log", "0000000000000001.log"), "r+b") as file:
                data = bytearray(file.read())
                at = data.rfind(b"TLYF") - 8
                data[at:used] = bytes(used - at)
                file.seek(0)
                file.write(data)

        damages = [(flip("log/0000000000000001.log", n), "0000000000000001.log") for n in
                   (3, 20, 64, 100, used // 2, used - 1)]
        damages += [(flip("log/0000000000000001.checkpoint", n), "0000000000000001.checkpoint") for n in (0, 60)]
        damages += [(flip("FORMAT", n), "FORMAT") for n in (0, 20, 300)]
        damages += [(cut_last_block, r"its log ends at byte \d+ .*0000000000000001\.log"),
                    (lambda f: os.remove(os.path.join(f, "log", "0000000000000001.log")), "log"),
                    (lambda f: os.remove(os.path.join(f, "FORMAT")), "FORMAT"),
                    (lambda f: os.truncate(os.path.join(f, "log", "0000000000000001.log"), 70000), "0000000000000001")]
        for number, (damage, place) in enumerate(damages):
            with self.subTest(number=number):
                folder = self.path("damaged")
                shutil.copytree(self.path("backup"), folder)
                damage(folder)
                done = self.restore(self.path("state"), folder, "--key", self.key(node), "--skip", "0", check=False)
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertRegex(done.stderr, place)
                self.assertFalse(os.path.exists(self.path("state")))
                shutil.rmtree(folder)

    def test_into_a_directory_that_holds_anything_it_does_not_go(self):
        node = self.counted()
        self.backup(node)
        done = self.restore(node.state, self.path("backup"), "--key", self.key(node), "--skip", "0", check=False)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertRegex(done.stderr, r"is not empty: it holds \w+")
        self.assertIn(f"mv {node.state} {node.state}.old", done.stderr)
        self.assertEqual(call(node, "count", ["votes"]).number, 21)
        node.stop()
        os.rename(node.state, node.state + ".old")
        os.mkdir(node.state, 0o700)
        self.restore(node.state, self.path("backup"), "--key", node.state + ".old/node.key", "--skip", "1")
        self.assertEqual(call(node.start(), "count", ["votes"]).number, 22)

    def test_a_key_that_is_not_the_node_s_is_refused_and_none_has_to_be_meant(self):
        node, other = self.counted(), self.node("o", scripts="").start()
        self.backup(node)
        state = self.path("state")
        for words, code, said in (
                ([], 2, "--new-key makes another node"), (["--key", self.key(other)], 1, "is not the key of the node"),
                (["--key", self.path("none")], 1, "none"), (["--key", other.conf], 1, "holds no key"),
                (["--key", self.key(node), "--new-key"], 2, "contradict")):
            with self.subTest(words=words):
                done = self.restore(state, self.path("backup"), "--skip", "0", *words, check=False)
                self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
                self.assertIn(said, done.stderr)
                self.assertFalse(os.path.exists(state))

    def test_with_a_new_key_it_is_another_node_with_the_same_counts(self):
        node = self.counted()
        node.ctl("checkpoint")
        call(node, "count", ["votes"])
        self.backup(node)
        other = self.node("restored", scripts="")
        said = self.restore(other.state, self.path("backup"), "--new-key", "--skip", "0").stdout
        self.assertRegex(said, r"(?m)^key +new: it is another node")
        other.start()
        self.assertEqual(call(other, "count", ["votes"]).number, 22)
        keys = {json.loads(n.ctl("--json", "status").stdout)["key"] for n in (node, other)}
        self.assertEqual(len(keys), 2)
        for _ in range(2):
            other.ctl("verify")
            other.stop()
            other.start()
        self.assertEqual(call(other, "count", ["votes"]).number, 23)

    def test_numbers_that_may_have_been_said_since_are_skipped_and_the_log_says_so(self):
        node = self.counted()
        call(node, "count", ["other"])
        self.backup(node)
        for _ in range(3):
            call(node, "count", ["votes"])
        other = self.restored(node, "backup", "--skip", "5")
        added = [json.loads(line) for line in
                 other.ctl("--json", "log", "--tag", "restore --skip").stdout.splitlines()]
        self.assertEqual([(a["counter"], a["amount"], a["number"]) for a in added],
                         [("other", 5, 6), ("votes", 5, 25)])
        other.ctl("verify")
        other.start()
        self.assertEqual(call(other, "count", ["votes"]).number, 26)
        self.restore(other.state + "-2", self.path("backup"), "--key", self.key(node), "--skip", "7", "--counter", "v*")
        at = ("-d", other.state + "-2", "get")
        self.assertEqual((run(TALLYCTL, *at, "votes").stdout, run(TALLYCTL, *at, "other").stdout), ("27\n", "1\n"))

    def test_many_counters_are_skipped_in_a_log_of_small_segments(self):
        node = self.node(scripts="", log=ROTATING).start()
        with Callers(node, 8, args=("x",)) as callers:
            eventually(lambda: len(callers.calls) >= 1, 30, "one is counted")
        total = node.total("x")
        for i in range(5):
            with subprocess.Popen([AGICALL, "--load", "--calls", "500", "--concurrency", "32", "--expect", "close",
                                   node.url("count"), f"c{i}"], stdout=subprocess.DEVNULL) as load:
                self.assertEqual(load.wait(), 0)
        self.backup(node)
        other = self.restored(node, "backup", "--skip", "2147483647")
        self.assertEqual(other.total("x"), total + 2147483647)
        self.assertEqual(other.total("c4"), 500 + 2147483647)

    def test_a_lone_node_s_numbers_are_asked_about_on_a_terminal_and_have_to_be_said_elsewhere(self):
        node = self.counted()
        self.backup(node)
        words = ["-d", self.path("state"), "restore", self.path("backup"), "--key", self.key(node)]
        for more, said in (([], "--skip N"), (["--skip", "x"], "from 0 to"), (["--skip", "-1"], "from 0 to"),
                           (["--skip", "2147483648"], "from 0 to"), (["--counter", "v*"], "--skip")):
            done = run(TALLYCTL, *words, *more, check=False)
            self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
            self.assertIn(said, done.stderr)
            self.assertFalse(os.path.exists(self.path("state")))
        master, slave = pty.openpty()
        process = subprocess.Popen([TALLYCTL, *words], stdin=slave, stderr=slave, stdout=subprocess.PIPE, text=True)
        os.close(slave)
        os.write(master, b"9\n")
        out = process.communicate(timeout=60)[0]
        self.assertIn("How many may", os.read(master, 65536).decode())
        os.close(master)
        self.assertEqual(process.returncode, 0)
        self.assertRegex(out, r"(?m)^skipped +9 numbers of each of 1 counters")
        self.assertEqual(run(TALLYCTL, "-d", self.path("state"), "get", "votes").stdout, "29\n")

    def test_killed_at_any_moment_it_is_no_state_directory_until_it_is_done_again(self):
        node = self.counted()
        self.load(node, 10000)
        self.backup(node)
        begun = time.monotonic()
        self.restored(node, "backup", "--skip", "10")
        taken = time.monotonic() - begun
        other = self.node("m", scripts="")
        words = [TALLYCTL, "-d", other.state, "restore", self.path("backup"), "--key", self.key(node), "--skip", "10"]
        seen = set()
        for i in range(25):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if i % 3 == 0:  # while it copies, however long it has verified before
                eventually(lambda: os.path.isdir(os.path.join(other.state, "log")), 20, "it copies")
            else:
                time.sleep(random.uniform(0, taken))
            process.kill()
            process.wait()
            if not os.path.isdir(other.state) or not set(os.listdir(other.state)) - {"FORMAT.new"}:
                seen.add("nothing")
            elif "was not finished" in run(TALLYCTL, "-d", other.state, "status", check=False).stderr:
                seen.add("unfinished")
                code, said = other.refused()
                self.assertNotEqual(code, 0)
                self.assertIn("run tallyctl restore again", said)
            else:
                self.assertEqual(other.total("votes"), 10030)
                seen.add("whole")
                shutil.rmtree(other.state)
        self.assertIn("unfinished", seen)
        run(*words, check=False)
        self.assertEqual(other.total("votes"), 10030)
        other.ctl("verify")


class InACluster(Cluster):
    def test_a_node_that_is_restored_rejoins_and_the_totals_meet(self):
        a, b, c = self.cluster()
        self.assertEqual(self.load(b).result()[0], 0)
        self.assertSame([a, b, c])
        path = os.path.join(self.folder, "backup")
        load = self.load(c)
        run(TALLYCTL, "-d", c.state, "backup", path, "--with-key")
        self.assertEqual(load.result()[0], 0)
        self.assertSame([a, b, c])
        before = c.total("load")
        c.kill()
        shutil.rmtree(c.state)
        done = run(TALLYCTL, "-c", c.conf, "restore", path)
        self.assertIn("it takes from the others what it lacks", done.stdout)
        c.launch()
        self.wait_counting(c)
        self.assertSame([a, b, c])
        for member in (a, b, c):
            self.assertEqual(member.count("load")["TALLY_STATUS"], "PROVISIONAL")
        self.assertSame([a, b, c])
        self.assertEqual(a.total("load"), before + 3)

    def test_a_node_that_is_restored_says_no_number_before_it_has_caught_up(self):
        a, b, c = self.cluster()
        c.count("load")
        self.assertSame([a, b, c])
        path = os.path.join(self.folder, "backup")
        run(TALLYCTL, "-d", c.state, "backup", path, "--with-key")
        self.assertEqual(self.load(c).result()[0], 0)
        self.assertSame([a, b, c])
        before = c.total("load")
        c.kill()
        shutil.rmtree(c.state)
        run(TALLYCTL, "-c", c.conf, "restore", path)
        for member in (a, b):
            os.kill(member.state_pid(), signal.SIGSTOP)
        for _ in range(2):  # also where it is started again meanwhile
            c.start()
            self.assertEqual(c.count("load")["TALLY_STATUS"], "UNAVAILABLE")
            self.assertTrue(c.status()["joining"])
            c.kill()
        c.launch()
        for member in (a, b):
            os.kill(member.state_pid(), signal.SIGCONT)
        self.wait_counting(c)
        heard = c.count("load")
        self.assertEqual((heard["TALLY_STATUS"], heard["TALLY_NUMBER"]), ("PROVISIONAL", str(before + 1)))
        c.kill()
        for member in (a, b):
            member.kill()
        # It is a member again: it counts alone as ever.
        c.start()
        self.assertEqual(c.count("load")["TALLY_NUMBER"], str(before + 2))


if __name__ == "__main__":
    unittest.main()
