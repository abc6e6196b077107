"""The disk is full: callers hear the error steps, nothing that was said is lost, and service resumes when
there is room, without a restart."""

import errno
import os
import unittest

from harness import AGICALL, ServerTest, call, eventually, run

MIB = 1 << 20


class FullDisk(ServerTest):
    def fill(self, disk):
        """Take all that is left, to the last block."""
        path = os.path.join(disk, "filler")
        chunk = b"\0" * 65536
        with open(path, "ab", buffering=0) as file:
            while chunk:
                try:
                    file.write(chunk)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    chunk = chunk[:len(chunk) // 2]
        return path

    def count_until_full(self, node):
        """Count until the prepared segments are used up; the total then."""
        def full():
            run(AGICALL, "--load", "--calls", "4000", "--concurrency", "64", node.url("count/tickets"),
                check=False, limit=120)
            heard = call(node, "count", ["tickets"])
            return heard.variables["TALLY_STATUS"] == "UNAVAILABLE"
        eventually(full, 120, "the log has no room left")
        return node.total("tickets")

    def full_node(self):
        disk = self.small_disk(12 * MIB)
        node = self.node(state=os.path.join(disk, "state"), log="segment-size = 1m")
        node.start()
        self.assertEqual(call(node, "count", ["tickets"]).number, 1)
        filler = self.fill(disk)
        total = self.count_until_full(node)
        return node, filler, total

    def assertFull(self, node, total):
        """Counts are refused, the dialplan and the caller are told, gets and repeats work."""
        heard = call(node, "count", ["tickets"])
        self.assertEqual(heard.variables["TALLY_STATUS"], "UNAVAILABLE")
        self.assertIsNone(heard.number)
        heard = call(node, "fast")
        self.assertIn('STREAM FILE please-try-call-later ""', heard.commands)
        self.assertIsNone(heard.number)
        got = call(node, "get", ["tickets"])
        self.assertEqual(got.variables["TALLY_STATUS"], "FINAL")
        self.assertEqual(got.variables["TALLY_TOTAL"], str(total))

    def assertResumes(self, node, total):
        eventually(lambda: call(node, "count", ["tickets"]).number == total + 1, 10,
                   "counting resumes with the next number")

    def test_a_full_disk_is_heard_as_the_error_steps_and_service_resumes_by_itself(self):
        node, filler, total = self.full_node()
        state = node.state_pid()
        self.assertFull(node, total)
        os.unlink(filler)
        self.assertResumes(node, total)
        self.assertEqual(node.state_pid(), state, "nothing was restarted")
        node.stop()
        self.assertEqual(node.total("tickets"), total + 1)
        node.ctl("verify")

    def test_killed_while_the_disk_is_full_it_starts_and_answers_get(self):
        node, filler, total = self.full_node()
        node.kill()
        node.start()
        got = eventually(lambda: (lambda c: c if c.variables["TALLY_STATUS"] == "FINAL" else None)(
            call(node, "get", ["tickets"])), 10, "get is answered")
        self.assertEqual(got.variables["TALLY_TOTAL"], str(total))
        os.unlink(filler)
        self.assertResumes(node, total)

    def test_stopped_while_the_disk_is_full_it_loses_nothing(self):
        node, filler, total = self.full_node()
        node.stop()
        self.assertEqual(node.total("tickets"), total)
        os.unlink(filler)
        node.start()
        self.assertEqual(call(node, "count", ["tickets"]).number, total + 1)


if __name__ == "__main__":
    unittest.main()
