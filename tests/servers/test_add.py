"""tallyctl add: a correction is a count, with a reason, once."""

import json
import os
import signal
import threading
import unittest

from harness import ServerTest, call, eventually


class Add(ServerTest):
    def counted(self):
        node = self.node(scripts="").start()
        for _ in range(5):
            call(node, "count", ["votes"])
        return node

    def test_a_correction_is_in_the_total_and_in_the_log_with_its_reason(self):
        node = self.counted()
        done = node.ctl("add", "votes", "-3", "--reason", "test calls of Monday")
        self.assertRegex(done.stdout, r"^votes -3: the total is now 2 \(FINAL\), id [0-9a-f]{32}\n$")
        self.assertEqual(node.total("votes"), 2)
        last = json.loads(node.ctl("--json", "log", "--limit", "1").stdout.splitlines()[-1])
        self.assertEqual((last["counter"], last["amount"], last["number"], last["tag"]),
                         ("votes", -3, 2, "test calls of Monday"))
        node.ctl("verify")
        self.assertEqual(call(node, "count", ["votes"]).number, 3)

    def test_the_same_id_counts_once_also_after_a_restart(self):
        node = self.counted()
        first = json.loads(node.ctl("--json", "add", "votes", "7", "--reason", "r").stdout)
        self.assertEqual((first["number"], first["total"], first["status"]), (12, 12, "FINAL"))
        node.kill()
        node.start()
        again = json.loads(node.ctl("--json", "add", "votes", "7", "--reason", "r", "--id",
                                    first["id"]).stdout)
        self.assertEqual(again, first)
        self.assertEqual(node.total("votes"), 12)
        other = node.ctl("add", "votes", "8", "--reason", "r", "--id", first["id"], check=False)
        self.assertEqual(other.returncode, 1)
        self.assertIn("the id was used for another count", other.stderr)

    def test_a_state_process_that_is_started_again_meanwhile_is_asked_again(self):
        node = self.counted()
        state = node.state_pid()
        os.kill(state, signal.SIGSTOP)
        done = []
        asking = threading.Thread(target=lambda: done.append(
            node.ctl("add", "votes", "1", "--reason", "r", check=False)))
        asking.start()
        # It has sent its hello, or will; both come to the same.
        os.kill(state, signal.SIGKILL)
        asking.join()
        self.assertEqual(done[0].returncode, 0, done[0].stderr)
        self.assertEqual(node.total("votes"), 6)

    def test_a_state_process_that_does_not_answer_is_told(self):
        node = self.counted()
        state = node.state_pid()
        os.kill(state, signal.SIGSTOP)
        self.addCleanup(os.kill, state, signal.SIGCONT)
        done = node.ctl("add", "votes", "1", "--reason", "r", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("does not answer", done.stderr)

    def test_what_makes_no_sense_is_refused_with_what_is_expected(self):
        node = self.counted()
        for words, said in ((["votes"], "needs more"), (["votes", "x"], "expected a number"),
                            (["votes", "0"], "not 0"), (["votes", "99999999999"], "2147483647"),
                            (["bad/name", "1"], "counter's name"), (["votes", "1"], "--reason"),
                            (["votes", "1", "--reason", "x" * 65], "at most 64 bytes"),
                            (["votes", "1", "--reason", "a\nb"], "control"),
                            (["votes", "1", "--reason", "r", "--id", "12"], "32 hexadecimal"),
                            (["votes", "1", "2", "--reason", "r"], "too many")):
            with self.subTest(words=words):
                done = node.ctl("add", *words, check=False)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(said, done.stderr)
        self.assertEqual(node.total("votes"), 5)

    def test_a_node_that_does_not_run_counts_nothing(self):
        node = self.counted()
        node.stop()
        done = node.ctl("add", "votes", "1", "--reason", "r", check=False)
        self.assertEqual((done.returncode, done.stdout), (3, ""))
        self.assertIn("does not run", done.stderr)

    def test_many_that_come_and_go_disturb_no_call(self):
        node = self.counted()
        for i in range(50):
            node.ctl("add", "votes", "1", "--reason", f"number {i}")
        self.assertEqual(node.total("votes"), 55)
        self.assertEqual(call(node, "count", ["votes"]).number, 56)
        eventually(lambda: "starting it again" not in node.log(), 1, "nothing died")


if __name__ == "__main__":
    unittest.main()
