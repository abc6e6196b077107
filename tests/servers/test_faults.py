"""The disk breaks and memory runs out under the real processes: what was answered is kept, no call is lost."""

import errno
import json
import mmap
import os
import resource
import struct
import unittest

from harness import AGICALL, BIN, ServerTest, call, eventually, run

FAULTY = os.path.join(BIN, "faulty.so")


class Orders:
    """Tells tests/faults/faulty.c which calls are to fail."""

    functions = ("fdatasync", "fsync", "pwrite", "pread")

    def __init__(self, path):
        with open(path, "wb") as file:
            file.write(bytes(4 * (len(self.functions) + 1)))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 0)
        self.path = path

    def fail(self, function, times=1, error=errno.EIO):
        struct.pack_into("=i", self.map, 4 * len(self.functions), error)
        struct.pack_into("=i", self.map, 4 * self.functions.index(function), times)

    def left(self, function):
        """How many failures have not happened yet."""
        return struct.unpack_from("=i", self.map, 4 * self.functions.index(function))[0]


class BrokenDisk(ServerTest):
    def faulty_node(self, **settings):
        node = self.node(**settings)
        self.orders = Orders(os.path.join(self.folder, "orders"))
        self.addCleanup(self.orders.map.close)
        node.env = dict(os.environ, LD_PRELOAD=FAULTY, FAULTY=self.orders.path)
        return node

    def load(self, node, calls=3000):
        done = run(AGICALL, "--json", "--load", "--calls", str(calls), "--concurrency", "16",
                   node.url("fast"), check=False, limit=120)
        summary = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual((done.returncode, summary["ok"]), (0, calls), summary)

    def survives(self, function, message, times=1, error=errno.EIO):
        """The log's disk fails once in the middle of a load: the state process stops at once and
        recovers, the workers ask again, and no caller notices more than a delay."""
        node = self.faulty_node().start()
        self.load(node, 500)
        state = node.state_pid()
        self.orders.fail(function, times, error)
        self.load(node)
        self.assertEqual(self.orders.left(function), 0, "the failure happened")
        self.assertNotEqual(node.state_pid(), state, "the state process was started again")
        self.assertEqual(node.total("fast"), 3500)
        self.assertRegex(node.log(), message)
        self.assertRegex(node.log(), "stopping to recover")
        node.stop()
        self.assertEqual(node.total("fast"), 3500)
        node.ctl("verify")

    def test_a_failed_sync_is_never_retried_and_costs_no_call(self):
        self.survives("fdatasync", "cannot sync .*: Input/output error")

    def test_a_failed_write_costs_no_call(self):
        self.survives("pwrite", "cannot write .*: Input/output error")

    def test_no_space_for_bytes_that_the_file_has_already_is_an_error_like_any_other(self):
        self.survives("pwrite", "no space left for bytes that it has already",
                      error=errno.ENOSPC)

    def test_a_checkpoint_that_cannot_be_made_is_tried_again_until_it_can(self):
        node = self.faulty_node().start()
        state = node.state_pid()
        self.load(node, 500)
        self.orders.fail("fsync", 2)
        node.ctl("checkpoint", check=False)
        eventually(lambda: self.orders.left("fsync") == 0, 20, "the failures happened")
        self.load(node, 500)
        self.assertRegex(node.log(), "cannot make .*checkpoint.*trying again every second")
        eventually(lambda: "all is well again" in node.log(), 10, "the make succeeds")
        self.assertEqual(node.state_pid(), state, "nothing was restarted")
        node.kill()
        self.assertEqual(node.total("fast"), 1000)

    def test_a_log_that_cannot_be_read_is_read_again_by_the_next_start_of_the_state_process(self):
        node = self.faulty_node().start()
        self.load(node, 500)
        node.kill()
        self.orders.fail("pread", 2)
        node.start()
        self.assertEqual(self.orders.left("pread"), 0)
        self.assertEqual(call(node).number, 501)
        node.stop()


class NoMemory(ServerTest):
    def test_a_state_process_without_memory_loses_nothing(self):
        """New names need memory; where there is none they are refused or the process starts anew,
        and what was answered stands."""
        node = self.node().start()
        state = node.state_pid()
        with open(f"/proc/{state}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[0])
        used = pages * resource.getpagesize()
        resource.prlimit(state, resource.RLIMIT_AS, (used + 65536, resource.RLIM_INFINITY))
        answered = {}
        for number in range(400):
            name = f"n{number}-" + "x" * 50
            done = call(node, "count", [name], limit=30)
            status = done.variables["TALLY_STATUS"]
            self.assertIn(status, ("FINAL", "UNAVAILABLE", "UNKNOWN"))
            if status == "FINAL":
                answered[name] = done.number
        state = node.state_pid()
        resource.prlimit(state, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.assertTrue(answered)
        for name, number in list(answered.items())[-20:]:
            self.assertEqual(node.total(name), number)
        self.assertEqual(call(node, "count", ["after"], limit=30).number, 1)
        node.stop()
        node.ctl("verify")


if __name__ == "__main__":
    unittest.main()
