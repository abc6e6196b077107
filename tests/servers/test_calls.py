"""What callers, dialplans and operators meet on a node where nothing fails."""

import os
import re
import signal
import stat
import unittest

from harness import (AGICALL, TALLYD, Call, Caller, ServerTest, alive, answer_of, call, eventually,
                     run, seconds)


class Calls(ServerTest):
    def test_hits_sends_the_classic_flow_and_nothing_else(self):
        node = self.node(scripts="").start()
        for number in (1, 2, 3):
            heard = call(node, "hits")
            self.assertEqual(heard.commands, [
                "ANSWER", 'STREAM FILE queue-thereare ""', f'SAY NUMBER {number} ""',
                'STREAM FILE vm-goodbye ""', "HANGUP"])
            self.assertGreaterEqual(heard.seconds, 1.0)
        self.assertEqual(node.total("hits"), 3)

    def test_a_url_without_a_path_runs_hits(self):
        node = self.node(scripts="").start()
        self.assertEqual(call(node, "").number, 1)
        self.assertEqual(node.total("hits"), 1)

    def test_count_and_get_set_the_dialplans_variables_and_return(self):
        node = self.node(scripts="").start()
        counted = call(node, "count", ["tickets", "by=5"])
        self.assertEqual(counted.variables["TALLY_STATUS"], "FINAL")
        self.assertEqual(counted.variables["TALLY_NUMBER"], "5")
        self.assertEqual(counted.variables["TALLY_TOTAL"], "5")
        self.assertEqual(counted.variables["TALLY_NODE"], "test")
        got = call(node, "get", ["tickets"])
        self.assertEqual(got.variables["TALLY_STATUS"], "FINAL")
        self.assertEqual(got.variables["TALLY_TOTAL"], "5")
        self.assertNotIn("HANGUP", counted.commands + got.commands)

    def test_a_count_that_is_repeated_with_its_id_gets_the_first_number(self):
        node = self.node(scripts="").start()
        first = call(node, "count", ["tickets", "id=sys-1.1"])
        call(node, "count", ["tickets", "id=sys-1.2"])
        again = call(node, "count", ["tickets", "id=sys-1.1"])
        self.assertEqual((first.number, again.number), (1, 1))
        self.assertEqual(node.total("tickets"), 2)
        other = call(node, "count", ["tickets", "id=sys-1.1", "by=2"])
        self.assertEqual(other.variables["TALLY_STATUS"], "ERROR", "the same id, another amount")
        self.assertEqual(node.total("tickets"), 2)

    def test_a_repeat_after_a_restart_gets_the_first_number(self):
        node = self.node(scripts="").start()
        self.assertEqual(call(node, "count", ["tickets", "id=sys-1.1"]).number, 1)
        call(node, "count", ["tickets"])
        node.stop()
        node.start()
        self.assertEqual(call(node, "count", ["tickets", "id=sys-1.1"]).number, 1)
        self.assertEqual(call(node, "count", ["tickets"]).number, 3)

    def test_an_unknown_script_is_told_to_the_dialplan_which_goes_on(self):
        node = self.node().start()
        heard = call(node, "no-such-script")
        self.assertEqual(heard.variables.get("TALLY_STATUS"), "ERROR")
        self.assertTrue(any(c.startswith("VERBOSE ") for c in heard.commands), heard.commands)
        self.assertNotIn("HANGUP", heard.commands)

    def test_an_invalid_counter_name_is_an_error_and_counts_nothing(self):
        node = self.node(scripts="").start()
        for name in ("", "a b", "x" * 65, "a/b", "ä", 'a"b', "a\\"):
            heard = call(node, "count", [name])
            self.assertTrue(heard.ended)
            if name:
                self.assertEqual(heard.variables.get("TALLY_STATUS"), "ERROR", repr(name))
        self.assertTrue(call(node, "count", ["x" * 64]).number == 1)

    def test_what_a_caller_sends_is_data(self):
        node = self.node(scripts="").start()
        heard = call(node, "count", ["tickets"], env={
            "agi_calleridname": 'a: b "c" \\ ${EXTEN} $(id)', "agi_accountcode": "::"})
        self.assertEqual(heard.number, 1)
        # A newline in a value, as Asterisk passes it on: further lines, then the true rest.
        heard = call(node, "count", ["tickets"], env={
            "agi_calleridname": "x\nagi_network_script: hits"})
        self.assertTrue(heard.ended)
        self.assertFalse([c for c in heard.commands if c.startswith("ANSWER")])

    def test_a_hangup_before_or_between_responses_ends_the_call_and_keeps_the_count(self):
        node = self.node().start()
        with Caller(node) as caller:
            caller.expect("ANSWER")
            caller.reply()
            caller.expect("STREAM FILE queue-thereare .*")
            caller.send("200 result=-1 endpos=0\nHANGUP\n")
            self.assertIsNone(caller.command())
        with Caller(node) as caller:
            caller.expect("ANSWER")
            caller.send("HANGUP\n")
            caller.reply("200 result=-1")
            self.assertIsNone(caller.command())
        self.assertEqual(node.total("fast"), 1)
        self.assertEqual(call(node).number, 2)

    def test_agicall_shows_the_dialogue_and_its_exit_code_says_what_happened(self):
        node = self.node(scripts="").start()
        done = run(AGICALL, node.url("hits"))
        self.assertIn("SAY NUMBER 1", done.stdout + done.stderr)
        self.assertEqual(run(AGICALL, check=False).returncode, 2)
        node.stop()
        self.assertEqual(run(AGICALL, node.url("hits"), check=False).returncode, 3)


class Operation(ServerTest):
    def test_the_counter_goes_on_after_a_restart(self):
        node = self.node().start()
        for number in range(1, 11):
            self.assertEqual(call(node).number, number)
        node.stop()
        self.assertEqual(node.total("fast"), 10)
        node.start()
        self.assertEqual(call(node).number, 11)
        node.stop()

    def test_process_titles_tell_who_is_who_and_workers_open_no_file(self):
        node = self.node().start()
        self.assertEqual(len(node.workers(2)), 2)
        self.assertEqual(len(node.pids("state")), 1)
        for pid in node.workers(2):
            with open(f"/proc/{pid}/status", encoding="ascii") as file:
                status = file.read()
            self.assertRegex(status, r"NoNewPrivs:\s+1")
            if "TALLY_SLOW" not in os.environ:  # a sanitizer's report could not be written
                self.assertRegex(status, r"Seccomp:\s+2")

    def test_a_worker_has_one_thread(self):
        most = 2 if "TALLY_SLOW" in os.environ else 1  # ThreadSanitizer has one of its own
        node = self.node().start()
        call(node)
        for pid in node.workers(2):
            self.assertLessEqual(len(os.listdir(f"/proc/{pid}/task")), most)

    def test_sigterm_closes_the_listener_and_lets_calls_finish(self):
        node = self.node().start()
        with Caller(node) as caller:
            caller.expect("ANSWER")
            node.master.send_signal(signal.SIGTERM)

            def refused():
                try:
                    Caller(node, None).close()
                except OSError:
                    return True
                return False
            eventually(refused, 5, "new calls are refused")
            self.assertIsNone(node.master.poll())
            caller.reply()
            caller.expect("STREAM FILE queue-thereare .*")
            caller.reply()
            caller.expect('SAY NUMBER 1 ""')
            caller.reply()
            caller.expect("STREAM FILE vm-goodbye .*")
            caller.reply()
            caller.expect("HANGUP")
        self.assertEqual(node.master.wait(seconds(10)), 0)
        eventually(lambda: not node.tree(), 5, "all processes have ended")
        self.assertEqual(node.total("fast"), 1)

    def test_sigterm_waits_no_longer_than_drain_time(self):
        node = self.node(fastagi="drain-time = 1s").start()
        with Caller(node) as caller:
            caller.expect("ANSWER")
            node.stop(limit=8)

    def test_a_killed_child_is_started_again_and_the_others_go_on(self):
        node = self.node().start()
        self.assertEqual(call(node).number, 1)
        for role in ("worker", "state", "worker", "state"):
            before = node.workers(2) + [node.state_pid()]
            victim = node.pids(role)[0]
            os.kill(victim, signal.SIGKILL)
            eventually(lambda: not alive(victim), 5, "the victim is gone")
            node.workers(2)
            node.state_pid(other_than=victim)
            self.assertEqual(len(set(before) & set(node.tree())), 2)
        self.assertEqual(call(node).number, 2)

    def test_sighup_puts_a_new_configuration_in_force_without_losing_a_call(self):
        node = self.node().start()
        old = node.workers(2)
        with Caller(node) as caller:
            caller.expect("ANSWER")
            node.write_conf(scripts="[script fast]\nstep = count other\nstep = say-number\n")
            node.master.send_signal(signal.SIGHUP)

            def changed():
                return call(node).commands[0].startswith("SAY NUMBER")
            eventually(changed, 20, "new calls run the new script")
            eventually(lambda: len(set(node.pids("worker")) - set(old)) == 2, 20, "new workers")
            caller.reply()
            caller.expect("STREAM FILE queue-thereare .*")
            caller.reply()
            # Calls that came before the change may have been counted, too.
            caller.expect(r'SAY NUMBER \d+ ""')
            caller.reply()
            caller.expect("STREAM FILE vm-goodbye .*")
            caller.reply()
            caller.expect("HANGUP")
        eventually(lambda: len(node.pids("worker")) == 2, 20, "the old workers have ended")
        self.assertFalse(set(old) & set(node.pids("worker")))

    def test_a_log_level_changed_by_sighup_is_that_of_every_process(self):
        node = self.node(log="level = error").start()
        self.assertNotIn("state: info", node.log())
        node.write_conf(log="level = info")
        node.master.send_signal(signal.SIGHUP)
        node.wait_log("was read again")
        node.stop()
        self.assertIn("state: info: stopped, with all on disk", node.log())

    def test_sighup_with_a_bad_configuration_leaves_the_old_one_in_force(self):
        node = self.node().start()
        workers, before = node.workers(2), len(node.log())
        node.write_conf(scripts="[script fast]\nstep = no-such-step\n")
        node.master.send_signal(signal.SIGHUP)
        node.wait_log(r"tally\.conf:\d+: ", start=before)
        self.assertEqual(node.workers(2), workers)
        self.assertEqual(call(node).number, 1)


class Refusals(ServerTest):
    def assertRefused(self, node, pattern):
        """What is wrong with the state directory ends tallyd with an error, what is wrong with the
        configuration with 2."""
        code, said = node.refused()
        self.assertIn(code, (1, 2), said)
        self.assertRegex(said, pattern)
        return said

    def test_a_bad_configuration_is_refused_with_file_and_line(self):
        node = self.node()
        for text, line, expected in (
                ("[fastagi]\nworkers = many", 2, "many"),
                ("[fastagi]\nlisten = 127.0.0.1:99999", 2, "99999"),
                ("[node]\nnmae = x", 2, "nmae"),
                ("[nodes]\nname = x", 1, "nodes"),
                ("[node]\nstate = state\n[script x]\nstep = sing", 4, "sing"),
                ("[node]\nstate = state\n[script x]\nstep = wait soon", 4, "soon"),
                ("[log]\nsegment-size = 1x", 2, "1x")):
            with open(node.conf, "w", encoding="utf-8") as file:
                file.write(text + "\n")
            code, said = node.refused()
            self.assertEqual(code, 2, said)
            self.assertRegex(said, rf"tally\.conf:{line}: ")
            self.assertIn(expected, said)
            checked = run(TALLYD, "-n", "-c", node.conf, check=False)
            self.assertEqual(checked.returncode, 2)
            self.assertRegex(checked.stderr, rf"tally\.conf:{line}: ")
        self.assertFalse(os.path.exists(node.state))

    def test_a_missing_configuration_and_a_wrong_option_are_told(self):
        done = run(TALLYD, "-c", os.path.join(self.folder, "none.conf"), check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("none.conf", done.stderr)
        self.assertEqual(run(TALLYD, "--no-such-option", check=False).returncode, 2)
        self.assertEqual(run(TALLYD, "-h").returncode, 0)
        self.assertEqual(run(TALLYD, "-V").returncode, 0)

    def test_a_checked_configuration_starts_nothing(self):
        node = self.node()
        self.assertEqual(run(TALLYD, "-n", "-c", node.conf).returncode, 0)
        self.assertFalse(os.path.exists(node.state))

    def test_a_second_tallyd_on_the_same_state_directory_is_refused(self):
        node = self.node().start()
        second = self.node("second", state=node.state)
        code, said = second.refused(limit=30)
        self.assertIn(code, (1, 2), said)
        self.assertIn(node.state, said)
        self.assertEqual(call(node).number, 1)

    def test_a_port_that_is_taken_is_told(self):
        node = self.node().start()
        second = self.node("second", port=node.port)
        code, said = second.refused(limit=30)
        self.assertNotEqual(code, 0)
        self.assertIn(str(node.port), said)
        self.assertEqual(call(node).number, 1)

    def test_a_foreign_directory_is_refused_and_left_as_it_is(self):
        node = self.node()
        os.mkdir(node.state, 0o700)
        with open(os.path.join(node.state, "letters.txt"), "w", encoding="ascii") as file:
            file.write("dear\n")
        self.assertRefused(node, re.escape(node.state))
        self.assertEqual(os.listdir(node.state), ["letters.txt"])

    def test_a_key_that_others_can_read_is_refused(self):
        node = self.node().start()
        node.stop()
        key = os.path.join(node.state, "node.key")
        self.assertEqual(stat.S_IMODE(os.stat(key).st_mode), 0o600)
        os.chmod(key, 0o644)
        self.assertRefused(node, r"node\.key")
        os.chmod(key, 0o600)
        node.start()
        self.assertEqual(call(node).number, 1)

    def test_a_state_directory_that_others_may_write_to_is_refused(self):
        node = self.node().start()
        node.stop()
        os.chmod(node.state, 0o777)
        self.assertRefused(node, re.escape(node.state))

    def test_rot_in_the_log_is_refused_with_segment_and_offset(self):
        node = self.node(log="checkpoint-time = 2h").start()
        for _ in range(20):
            call(node, "count", ["tickets"])
        node.kill()
        segments = sorted(name for name in os.listdir(os.path.join(node.state, "log")))
        path = os.path.join(node.state, "log", segments[0])
        with open(path, "r+b") as file:
            content = file.read(4096)
            # A bit in the middle of what is certainly below a later frame's durable mark.
            file.seek(400)
            file.write(bytes([content[400] ^ 0x10]))
        said = self.assertRefused(node, re.escape(segments[0]))
        self.assertRegex(said, r"offset|byte \d+|:\d+")
        with open(path, "r+b") as file:
            file.seek(400)
            file.write(content[400:401])
        node.start()
        self.assertEqual(call(node, "count", ["tickets"]).number, 21)


class Dialogue(ServerTest):
    def test_press_1_to_9_to_vote_is_a_script(self):
        node = self.node(scripts="").start()
        heard = Call()
        with Caller(node, "vote", ["song"]) as caller:
            while (command := caller.command()) is not None:
                heard.heard(command)
                if command.startswith(("GET DATA", "WAIT FOR DIGIT")):
                    data = command.startswith("GET DATA")
                    caller.reply("200 result=7" if data else "200 result=55")
                elif command.startswith("STREAM FILE"):
                    caller.reply("200 result=0 endpos=100")
                else:
                    caller.reply(answer_of(command))
                    if command == "HANGUP":
                        caller.send("HANGUP\n")
        counters = node.ctl("counters").stdout
        self.assertRegex(counters, r"(?m)\b[\w.-]*7\b.*\b1\b", heard.commands)

    def test_a_failed_command_runs_the_error_steps(self):
        node = self.node().start()
        with Caller(node) as caller:
            caller.expect("ANSWER")
            caller.reply()
            caller.expect("STREAM FILE queue-thereare .*")
            caller.reply("510 Invalid or unknown command")
            caller.expect("STREAM FILE please-try-call-later .*")
            caller.reply("200 result=0 endpos=1")
            caller.expect("HANGUP")
            caller.reply("200 result=1")
            self.assertIsNone(caller.command())


if __name__ == "__main__":
    unittest.main()
