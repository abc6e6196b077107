"""What the service manager is told, as systemd would hear it."""

import os
import signal
import socket
import time

from harness import Caller, ServerTest, call, eventually, seconds


class Manager:
    """The socket on which a service manager listens; env is what it gives a service."""

    def __init__(self, path, watchdog=None):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(path)
        self.heard = []
        self.env = {**os.environ, "NOTIFY_SOCKET": path}
        if watchdog:
            self.env["WATCHDOG_USEC"] = str(int(1e6 * watchdog))

    def close(self):
        self.sock.close()

    def said(self):
        """The next of what was said, apart from signs of life, as a dictionary; None: nothing."""
        self.sock.setblocking(False)
        while True:
            try:
                said = dict(line.split("=", 1) for line in self.sock.recv(4096).decode().split("\n"))
            except BlockingIOError:
                return None
            if said != {"WATCHDOG": "1"}:
                return said

    def next(self, limit=20):
        """What is said next."""
        return eventually(self.said, limit, "the service manager is told something")

    def alive(self, limit=20):
        """The next sign of life."""
        self.sock.settimeout(seconds(limit))
        while self.sock.recv(4096) != b"WATCHDOG=1":
            pass


class Service(ServerTest):
    def managed(self, watchdog=None, **settings):
        node = self.node(**settings)
        manager = Manager(os.path.join(node.folder, "notify"), watchdog)
        self.addCleanup(manager.close)
        node.env = manager.env
        return node, manager

    def test_readiness_is_told_once_calls_are_taken_and_counts_are_recovered(self):
        node, manager = self.managed()
        node.start()
        self.assertEqual(manager.next(), {"READY": "1", "STATUS": f"Serving FastAGI on 127.0.0.1:{node.port}"})
        call(node)
        node.stop()
        self.assertEqual(manager.next()["STOPPING"], "1")
        node.launch()
        self.assertEqual(manager.next()["READY"], "1")
        # At once, without a wait: the port is open, and the number known.
        self.assertEqual(call(node).number, 2)

    def test_a_service_is_not_ready_before_its_counts_are_recovered(self):
        node, manager = self.managed()
        node.start()
        manager.next()
        for _ in range(50):
            node.stop()
            manager.next()
            begin = len(node.log())
            node.launch()
            state = node.state_pid()
            os.kill(state, signal.SIGSTOP)
            if "recovered" not in node.log()[begin:]:
                break
            os.kill(state, signal.SIGCONT)
            manager.next()
        else:
            self.fail("the state process was always too quick to be stopped")
        node.workers()
        # The port is open: the call waits.
        with Caller(node, "count", ["early"]) as caller:
            self.assertIsNone(manager.said())
            os.kill(state, signal.SIGCONT)
            self.assertEqual(manager.next()["READY"], "1")
            self.assertIsNotNone(caller.command())

    def test_a_witness_is_ready_too(self):
        node, manager = self.managed(workers=0)
        node.launch()
        self.assertEqual(manager.next(), {"READY": "1", "STATUS": "A witness, which takes no calls"})

    def test_a_reload_is_told_with_its_end_whether_it_was_taken_or_refused(self):
        node, manager = self.managed()
        node.start()
        manager.next()
        for broken in (False, True):
            if broken:
                with open(node.conf, "a", encoding="utf-8") as file:
                    file.write("nonsense\n")
            before = time.clock_gettime(time.CLOCK_MONOTONIC)
            node.master.send_signal(signal.SIGHUP)
            said = manager.next()
            self.assertEqual(said["RELOADING"], "1")
            self.assertLessEqual(before, int(said["MONOTONIC_USEC"]) / 1e6)
            self.assertEqual(manager.next()["READY"], "1")

    def test_the_end_is_told_when_it_begins_and_not_when_it_is_over(self):
        node, manager = self.managed()
        node.start()
        manager.next()
        with Caller(node) as caller:
            caller.expect("ANSWER")
            node.master.send_signal(signal.SIGTERM)
            self.assertEqual(manager.next()["STOPPING"], "1")
            self.assertIsNone(node.master.poll(), "a call goes on")

    def test_a_state_process_that_is_stuck_is_killed_and_its_calls_are_answered_by_the_next(self):
        node, manager = self.managed(watchdog=2)
        node.start()
        stuck = node.state_pid()
        os.kill(stuck, signal.SIGSTOP)
        self.assertEqual(call(node, limit=30).number, 1)
        self.assertNotEqual(node.state_pid(), stuck)
        node.wait_log(rf"state \(pid {stuck}\) has said nothing for \d+ s: killing it")

    def test_a_node_at_rest_gives_signs_of_life_and_its_state_process_is_left_alone(self):
        node, manager = self.managed(watchdog=0.8)
        node.start()
        state = node.state_pid()
        begun = time.monotonic()
        for _ in range(10):
            manager.alive()
        self.assertLess(time.monotonic() - begun, seconds(10 * 0.8), "more often than it was asked to")
        self.assertEqual(node.state_pid(), state)

    def test_a_watchdog_that_is_no_number_is_said_and_harms_nobody(self):
        node, manager = self.managed()
        node.env["WATCHDOG_USEC"] = "soon"
        node.start()
        node.wait_log("WATCHDOG_USEC is not what systemd sets")

    def test_without_a_service_manager_there_is_none_to_tell(self):
        node = self.node()
        node.env = {key: value for key, value in os.environ.items() if key != "NOTIFY_SOCKET"}
        node.start()
        self.assertNotIn("service manager", node.log())
        eventually(lambda: "ready: serving FastAGI on" in node.log(), 10, "it is ready")


class Doors(ServerTest):
    def close_while_it_is_made(self, node, door):
        """A listener that is to greet somebody who has gone."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(os.path.join(node.state, "ipc", door))

    def test_connections_that_end_while_they_are_made_shut_out_no_later_worker(self):
        node = self.node().start()
        self.assertEqual(call(node).number, 1)
        self.close_while_it_is_made(node, "workers")
        for pid in node.workers():
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: call(node, limit=30).number, 60, "calls are counted again")

    def test_tallyctl_that_gave_up_on_a_stopped_process_shuts_out_the_next_one_only_for_a_while(self):
        node = self.node().start()
        call(node)
        state = node.state_pid()
        os.kill(state, signal.SIGSTOP)
        self.assertEqual(node.ctl("get", "hits", check=False).returncode, 3)
        os.kill(state, signal.SIGCONT)
        eventually(lambda: node.ctl("get", "fast", check=False).returncode == 0, 60, "tallyctl is answered again")

    def test_a_state_process_that_stood_still_for_a_while_is_left_alone(self):
        node = self.node().start()
        state = node.state_pid()
        os.kill(state, signal.SIGSTOP)
        time.sleep(seconds(3))
        os.kill(state, signal.SIGCONT)
        self.assertEqual(call(node, limit=30).number, 1)
        self.assertEqual(node.state_pid(), state)
