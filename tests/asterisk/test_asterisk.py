"""A real Asterisk 22 calls tallyd. Sounds take their time (a call to `hits` 6 s), so calls run side by
side. Needs root; ASTERISK_DIR is where rig.sh has installed Asterisk."""

import atexit
import os
import re
import shutil
import signal
import subprocess
import unittest
from collections import defaultdict

from harness import ROOT, ServerTest, call, eventually, free_port

RIG = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rig.sh")
DIRECTORY = os.environ.get("ASTERISK_DIR", "")


class Asterisk(ServerTest):
    def setUp(self):
        self.assertTrue(DIRECTORY, "ASTERISK_DIR is not set: use `sh tests/run.sh --only asterisk`")
        super().setUp()
        self.node_ = self.node(scripts="").start()
        # The manager's port names the rig, so that two test runs may share one installation.
        self.env = dict(os.environ, AGI_PORT=str(self.node_.port), AMI_PORT=str(free_port()))
        self.addCleanup(self.end)
        # For a run that is interrupted; Asterisk does not end with who started it.
        atexit.register(self.end)
        self.rig("start")

    def end(self):
        subprocess.run(self.command("stop"), env=self.env, stdin=subprocess.DEVNULL, check=True,
                       stdout=subprocess.DEVNULL, timeout=60)
        shutil.rmtree(self.rig_folder(), ignore_errors=True)

    def rig_folder(self):
        return os.path.join(DIRECTORY, "srv", "rig-" + self.env["AMI_PORT"])

    def command(self, verb, *words):
        return ["bash", RIG, verb, DIRECTORY, *map(str, words)]

    def rig(self, verb, *words, **env):
        # Asterisk itself keeps what it gets as standard output for as long as it runs: a file.
        out_path = os.path.join(self.folder, f"rig-{verb}.out")
        with open(out_path, "w", encoding="utf-8") as out:
            code = subprocess.run(self.command(verb, *words), env=self.env | env, stdout=out,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                  timeout=300).returncode
        with open(out_path, encoding="utf-8", errors="replace") as out:
            text = out.read()
        self.assertEqual(code, 0, f"rig.sh {verb}: {text}\n{self.log()[-3000:]}")
        return text

    def log(self):
        with open(os.path.join(self.rig_folder(), "log", "full"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def dialogues(self):
        """channel -> the commands that it got, as Asterisk's AGI debugging shows them."""
        found = defaultdict(list)
        for channel, command in re.findall(r"<(\S+)>AGI Rx << (.*)", self.log()):
            found[channel].append(command)
        return found

    def said(self):
        return [int(n) for n in re.findall(r"AGI Rx << SAY NUMBER (\d+)", self.log())]

    def assertNothingLeft(self):
        """No channel in Asterisk, no connection at tallyd."""
        def quiet():
            return "0 active channels" in self.rig("cli", "core", "show", "channels")
        eventually(quiet, 20, "no channel is left")
        port = f":{self.node_.port:04X}"

        def connections():
            with open("/proc/net/tcp", encoding="ascii") as file:
                rows = [line.split() for line in file]
            # 01 is ESTABLISHED, 08 is CLOSE_WAIT.
            return [row for row in rows if row[1].endswith(port) and row[3] in ("01", "08")]
        eventually(lambda: not connections(), 10, "no connection is left")

    def test_fifty_calls_ten_at_a_time_hear_fifty_consecutive_numbers(self):
        self.assertIn("50 AGISTATUS=HANGUP", self.rig("call", 31415, 50, 10))
        self.assertConsecutive(self.said())
        self.assertEqual(len(self.said()), 50)
        self.assertEqual(self.node_.total("hits"), 50)
        dialogues = self.dialogues()
        self.assertEqual(len(dialogues), 50)
        for commands in dialogues.values():
            self.assertRegex("|".join(commands),
                             r'^ANSWER\|STREAM FILE queue-thereare ""\|SAY NUMBER \d+ ""\|'
                             r'STREAM FILE vm-goodbye ""\|HANGUP$')
        self.assertNothingLeft()
        self.assertNotRegex(self.log(), r"WARNING.*(agi|AGI)")

    def test_callers_who_hang_up_in_between_lose_and_double_no_number(self):
        # Gone while it is silent, during the first sound, the number, the last sound; or not at all.
        stays = {"1": (6, 1), "2": (8, 1), "4": (8, 2), "5": (8, 2), "300": (20, 6)}
        running = [subprocess.Popen(self.command("call", 31415, calls, at_once),
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.STDOUT, text=True,
                                    env=self.env | {"CALL_STAYS": stay})
                   for stay, (calls, at_once) in stays.items()]
        for process in running:
            out, _ = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, out)
        said, total = self.said(), self.node_.total("hits")
        self.assertEqual(len(said), len(set(said)), "no number is said twice")
        self.assertGreaterEqual(len(said), 20)
        self.assertLessEqual(max(said), total)
        dialogues = self.dialogues()
        # Who is past the second of waiting is counted; the number follows that sound.
        counted = sum(1 for commands in dialogues.values()
                      if any(c.startswith("STREAM FILE queue-thereare") for c in commands))
        self.assertEqual(total, counted, "who was counted was about to hear a number")
        left = counted - len(said)
        self.assertGreater(left, 0, "some callers left after they were counted")
        self.assertEqual(len(set(range(1, total + 1)) - set(said)), left)
        self.assertNothingLeft()

    def test_count_and_get_set_variables_that_the_dialplan_sees(self):
        self.rig("call", "repeat", 3, 1)
        log = self.log()
        self.assertEqual(re.findall(r"repeated: FIRST=(\d+) AGAIN=(\d+)\"\)", log),
                         [("2", "2"), ("4", "4"), ("6", "6")])
        self.assertEqual(re.findall(r"after AGI: AGISTATUS=SUCCESS STATUS=FINAL NUMBER=\d* TOTAL=(\d+) "
                                    r"NODE=test", log), ["2", "4", "6"])
        self.assertEqual(self.node_.total("repeat"), 6)
        self.assertNothingLeft()

    def test_an_unknown_script_is_an_error_and_the_dialplan_goes_on(self):
        self.rig("call", "upscript", CALL_SCRIPT="no-such-script")
        self.assertRegex(self.log(), r"after AGI: AGISTATUS=SUCCESS STATUS=ERROR")
        self.assertNothingLeft()

    def test_who_gets_no_number_hears_so_and_every_sound_is_one_of_asterisks_core_sounds(self):
        self.wait_for_a_peer()
        self.assertIn("1 AGISTATUS=HANGUP", self.rig("call", 31415))
        self.assertEqual(self.said(), [])
        self.assertRegex(self.log(), r"Playing 'please-try-call-later\.")
        self.assertNotRegex(self.log(), r"does not exist in any format")

    def wait_for_a_peer(self):
        """The node starts again, and says no number: it waits for a peer that it cannot reach."""
        self.node_.stop()
        peer = ("[peer away]\naddress = 127.0.0.1:1\n"
                "key = 8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c\n")
        self.node_.write_conf(node=f"peer-listen = 127.0.0.1:{free_port()}\njoin-wait = 1h", scripts=peer)
        self.node_.start()

    def use(self, dialplan):
        """Start Asterisk again with this in place of the rig's, and the node's port in it."""
        self.env["RIG_DIALPLAN"] = os.path.join(self.folder, "extensions.conf")
        with open(self.env["RIG_DIALPLAN"], "w", encoding="utf-8") as file:
            file.write(dialplan.replace("127.0.0.1/", f"127.0.0.1:{self.node_.port}/"))
        self.end()
        self.rig("start")

    def heard(self, *words, **env):
        """Place calls one after another: what each caller heard."""
        mark = len(self.log())
        self.rig("call", *words, **env)
        return self.sounds(self.log()[mark:])

    def heard_side_by_side(self, *extensions):
        """Call them all at the same time: what the caller of each heard."""
        mark = len(self.log())
        running = [self.begin_call(extension) for extension in extensions]
        for caller in running:
            out, _ = caller.communicate(timeout=60)
            self.assertEqual(caller.returncode, 0, out)
        log = self.log()[mark:]
        return {extension: self.sounds("\n".join(re.findall(rf".*<Local/{extension}@.*", log)))
                for extension in extensions}

    def begin_call(self, extension):
        return subprocess.Popen(self.command("call", extension), env=self.env, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def sounds(self, log):
        """Of each channel, as the names of Asterisk's sounds."""
        callers = {}
        for channel, sound in re.findall(r"<(\S+)> Playing '([\w/-]+)\.", log):
            callers.setdefault(channel, []).append(sound)
        self.assertNotRegex(log, r"does not exist in any format")
        return list(callers.values())

    def numbers(self):
        """What SayNumber() of the dialplan said."""
        return [int(n) for n in re.findall(r'SayNumber\("\S+", "(\d+)"\)', self.log())]

    def test_the_dialplan_of_the_readme_says_numbers(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
            lines = re.findall(r"(?m)^    ((?:exten| same) => .*\n)", file.read())
        self.assertEqual(sum(line.startswith("exten") for line in lines), 2)
        self.use("[tally]\n" + "".join(lines))
        self.rig("call", 31415)
        self.rig("call", 31416, 2)
        self.assertEqual(self.said(), [1])
        self.assertEqual(self.numbers(), [1, 2])
        self.node_.kill()
        self.assertEqual(self.heard(31416), [["please-try-call-later"]])

    def use_samples(self):
        with open(os.path.join(ROOT, "deploy", "asterisk", "extensions-one-node.conf"), encoding="utf-8") as file:
            self.use(file.read())

    def test_callers_of_the_samples_hear_their_number_their_ticket_their_vote_taken_and_who_has_won(self):
        self.use_samples()
        classic = ["queue-thereare", "digits/1", "vm-goodbye"]
        self.assertEqual(self.heard(31415), [classic])
        call(self.node_, "count", ["tickets", "by=21"])
        self.assertEqual(self.heard(31416, 2), [["digits/20", "digits/2", "vm-goodbye"],
                                                ["digits/20", "digits/3", "vm-goodbye"]])
        self.assertEqual(self.heard(31417, CALL_DTMF="wwwwww7wwwwwwww"), [["vm-press", "auth-thankyou", "vm-goodbye"]])
        self.assertEqual(self.node_.total("song-7"), 1)
        call(self.node_, "count", ["contest", "by=98"])
        self.assertEqual(self.heard(31418, 2), [["vm-goodbye"], ["auth-thankyou"]])
        self.assertEqual(self.node_.total("contest"), 100)

    def test_callers_of_the_samples_hear_that_they_shall_call_later_where_no_node_is(self):
        self.use_samples()
        self.node_.kill()
        self.assertEqual(self.heard_side_by_side(31415, 31416, 31417, 31418),
                         dict.fromkeys((31415, 31416, 31417, 31418), [["please-try-call-later"]]))

    def test_callers_of_the_samples_hear_that_they_shall_call_later_where_the_node_says_no_number(self):
        self.use_samples()
        self.wait_for_a_peer()
        self.assertEqual(self.heard_side_by_side(31415, 31416, 31418),
                         dict.fromkeys((31415, 31416, 31418), [["please-try-call-later"]]))
        # The ticket is asked for once more with the same id before its caller is told so.
        self.assertEqual(len(re.findall(r'Set\("\S+", "TRY=\d"\)', self.log())), 3)
        self.assertEqual(self.heard(31417, CALL_DTMF="wwwwww7wwwwwwww"), [["vm-press", "please-try-call-later"]])

    def test_a_ticket_that_is_unknown_at_first_is_asked_for_again_and_is_the_same(self):
        self.node_.stop()
        self.node_.write_conf(fastagi="answer-time = 2s", scripts="")
        self.node_.start()
        self.use_samples()
        state = self.node_.state_pid()
        os.kill(state, signal.SIGSTOP)
        mark = len(self.log())
        caller = self.begin_call(31416)
        eventually(lambda: 'SET VARIABLE TALLY_STATUS "UNKNOWN"' in self.log(), 20, "nobody knows")
        os.kill(state, signal.SIGCONT)
        out, _ = caller.communicate(timeout=60)
        self.assertEqual(caller.returncode, 0, out)
        self.assertEqual(self.sounds(self.log()[mark:]), [["digits/1", "vm-goodbye"]])
        self.assertEqual(self.node_.total("tickets"), 1)

    def test_no_path_means_hits(self):
        self.rig("call", "nopath")
        self.assertEqual(self.said(), [1])
        self.assertEqual(self.node_.total("hits"), 1)

    def test_a_key_that_is_pressed_is_a_vote(self):
        # Half a second each: the key is pressed when the menu waits for it.
        self.rig("call", "script", 4, 4, CALL_SCRIPT="vote,song", CALL_DTMF="wwwwww7wwwwwwww")
        counters = self.node_.ctl("counters").stdout
        self.assertRegex(counters, r"(?m)\b[\w.-]*7\b.*\b4\b")
        self.assertNothingLeft()

    def test_calls_go_on_when_the_state_process_is_killed_meanwhile(self):
        process = subprocess.Popen(self.command("call", 31415, 10, 10), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   env=self.env)
        # All have answered and wait out their second: the counts fall into the recovery.
        eventually(lambda: self.log().count("AGI Rx << ANSWER") == 10, 30, "all calls are there")
        os.kill(self.node_.state_pid(), 9)
        out, _ = process.communicate(timeout=300)
        self.assertIn("10 AGISTATUS=HANGUP", out)
        self.assertConsecutive(self.said())
        self.assertEqual(self.node_.total("hits"), 10)
        self.assertNothingLeft()


if __name__ == "__main__":
    unittest.main()
