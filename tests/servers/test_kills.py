"""Processes are killed and stopped at any moment: no count is lost or doubled."""

import json
import os
import random
import signal
import subprocess
import time
import unittest

from harness import (AGICALL, LONG, Caller, Callers, ServerTest, alive, call, eventually,
                     seconds)

KILLS = 100 if LONG else 12
CALLS = KILLS * int(os.environ.get("TALLY_CALLS_PER_KILL", "5000"))
TREE_KILLS = 300 if LONG else int(os.environ.get("TALLY_TREE_KILLS", "100"))


class Load:
    """agicall --load in the background; concurrency None: as the options say."""

    def __init__(self, node, calls, concurrency, path="fast", **options):
        self.calls = calls
        self.numbers_path = os.path.join(node.folder, "numbers")
        words = [AGICALL, "--json", "--load", "--calls", str(calls), "--numbers", self.numbers_path]
        if concurrency:
            words += ["--concurrency", str(concurrency)]
        for name, value in options.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        self.process = subprocess.Popen(words + [node.url(path)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        preexec_fn=node.enter)

    def running(self):
        return self.process.poll() is None

    def close(self):
        self.process.kill()
        self.process.communicate()

    def result(self, limit=120):
        """The exit code and the summary."""
        out, err = self.process.communicate(timeout=seconds(limit))
        lines = [line for line in out.splitlines() if line.startswith("{")]
        if not lines:
            raise AssertionError(f"agicall ended with {self.process.returncode}: {out}{err}")
        return self.process.returncode, json.loads(lines[-1])

    def numbers(self):
        with open(self.numbers_path, encoding="ascii") as file:
            return [int(line) for line in file]


class Kills(ServerTest):
    def load(self, node, *args, **options):
        load = Load(node, *args, **options)
        self.addCleanup(load.close)
        return load

    def test_load_while_the_state_process_is_killed_again_and_again_loses_no_call(self):
        # The default, and longer where a sanitizer makes each recovery longer.
        node = self.node(fastagi=f"answer-time = {int(seconds(10))}s").start()
        load = self.load(node, CALLS, 32)
        killed, pid = 0, None
        while load.running() and killed < KILLS:
            pid = node.state_pid(other_than=pid)
            # Before, in and after its recovery.
            time.sleep(random.uniform(0, 0.4))
            os.kill(pid, signal.SIGKILL)
            killed += 1
        code, summary = load.result()
        self.assertEqual(code, 0, summary)
        self.assertEqual(killed, KILLS, "the load was too short")
        numbers = load.numbers()
        self.assertEqual(len(numbers), load.calls)
        self.assertConsecutive(numbers)
        node.state_pid()
        self.assertEqual(node.total("fast"), load.calls)
        node.stop()
        self.assertEqual(node.total("fast"), load.calls)
        node.ctl("verify")

    def test_load_while_workers_are_killed_too_says_no_number_twice(self):
        node = self.node().start()
        load = self.load(node, CALLS, 32, retry_connect="10s")
        for turn in range(2 * KILLS):
            time.sleep(random.uniform(0, 0.3))
            pids = node.pids("state" if turn % 3 == 0 else "worker")
            if pids:
                os.kill(random.choice(pids), signal.SIGKILL)
        self.assertTrue(load.running(), "the load was too short")
        load.result()
        answered = load.numbers()
        self.assertEqual(len(answered), len(set(answered)), "no number is said twice")
        self.assertGreater(len(answered), load.calls // 2, "most calls went well")
        node.workers(2)
        total = node.total("fast")
        self.assertLessEqual(max(answered), total, "every number that was answered is in the state")
        self.assertLessEqual(len(answered), total)
        self.assertLessEqual(total, load.calls)
        node.kill()
        self.assertEqual(node.total("fast"), total)
        node.start()
        self.assertEqual(call(node).number, total + 1)
        node.stop()
        node.ctl("verify")

    def test_the_whole_tree_killed_at_random_moments_keeps_every_number_that_was_said(self):
        node = self.node(scripts="")
        highest, answered = 0, 0
        for turn in range(TREE_KILLS):
            node.launch()
            with Callers(node) as callers:
                # Some moments lie within start and recovery, most within the load.
                time.sleep(random.uniform(0.0, 0.45) * seconds(1))
                self.assertIsNone(node.master.poll(), node.log()[-3000:])
                node.kill()
                callers.finish()
            numbers = callers.numbers()
            self.assertEqual(len(numbers), len(set(numbers)))
            if numbers:
                self.assertGreater(min(numbers), highest, f"turn {turn}: a number is said again")
                answered += len(numbers)
            # The log on disk, read with no process alive, holds all that was said.
            total = self.total_on_disk(node)
            self.assertGreaterEqual(total, max(numbers, default=highest),
                                    f"turn {turn}: a number was said that is not on disk")
            self.assertGreaterEqual(total, highest)
            highest = total
        self.assertGreater(answered, TREE_KILLS)
        node.start()
        self.assertEqual(call(node, "count", ["load"]).number, highest + 1)
        node.stop()
        node.ctl("verify")
        print(f"{TREE_KILLS} kills, {answered} numbers said, {highest} counted")

    def total_on_disk(self, node):
        """0 as long as the first start has not come so far as to make the state."""
        done = node.ctl("get", "load", check=False)
        if done.returncode != 0:
            return 0
        return int(done.stdout.split()[-1])

    def test_the_masters_death_ends_its_children_and_the_next_start_works_at_once(self):
        node = self.node().start()
        for number in range(1, 6):
            self.assertEqual(call(node).number, number)
            children = node.workers(2) + [node.state_pid()]
            os.kill(node.master.pid, signal.SIGKILL)
            node.master.wait()
            eventually(lambda: not any(alive(pid) for pid in children), 5, "its children end")
            node.start()

    def test_the_next_start_waits_for_the_children_of_a_master_that_just_died(self):
        node = self.node().start()
        self.assertEqual(call(node).number, 1)
        for number in range(2, 6):
            os.kill(node.master.pid, signal.SIGKILL)
            node.master.wait()
            node.start()  # without a look at the children
            self.assertEqual(call(node).number, number)

    def test_a_state_process_that_hangs_keeps_no_caller_longer_than_answer_time(self):
        node = self.node(fastagi="answer-time = 1s").start()
        self.assertEqual(call(node).number, 1)
        state = node.state_pid()
        os.kill(state, signal.SIGSTOP)
        for kill_worker in (False, True):
            if kill_worker:
                # The next worker finds a state process that takes its connection and says nothing.
                for pid in node.workers(2):
                    os.kill(pid, signal.SIGKILL)
                    eventually(lambda: not alive(pid), 5, "the worker is gone")
            heard = eventually(lambda: self.try_call(node), 10, "a call is taken")
            self.assertIn('STREAM FILE please-try-call-later ""', heard.commands)
            self.assertLess(heard.seconds, seconds(3))
        os.kill(state, signal.SIGCONT)
        # Whoever heard no number may have been counted (UNKNOWN), but nobody is twice.
        number = eventually(lambda: self.try_call(node), 10, "counting goes on").number
        self.assertIn(number, (2, 3, 4))
        self.assertEqual(node.total("fast"), number)

    def try_call(self, node):
        try:
            heard = call(node)
        except OSError:
            return None
        return heard if heard.ended else None

    def test_a_worker_stopped_after_the_durable_count_gets_the_first_number(self):
        self.stopped_worker(kill_state=False)

    def test_a_worker_stopped_while_the_state_process_dies_gets_the_first_number(self):
        self.stopped_worker(kill_state=True)

    def stopped_worker(self, kill_state):
        """A worker has asked; its request is made durable while it is stopped, others count on, and
        5 s later it goes on: the caller hears the number of that first count."""
        node = self.node(fastagi="answer-time = 30s").start()
        state, workers = node.state_pid(), node.workers(2)
        os.kill(state, signal.SIGSTOP)
        first = Caller(node)
        self.addCleanup(first.close)
        first.expect("ANSWER")
        first.reply()
        # The state process cannot answer, so the worker that has this call waits; which of them it is
        # shows when one is stopped: a call to the other one still gets its first command.
        owner = self.owner(node, first, workers)
        eventually(lambda: self.idle(owner), 10, "the worker has sent its request and sleeps")
        os.kill(owner, signal.SIGSTOP)
        os.kill(state, signal.SIGCONT)
        eventually(lambda: node.total("fast") == 1, 10, "the count is durable")
        if kill_state:
            os.kill(state, signal.SIGKILL)
            node.state_pid(other_than=state)
        begun = time.monotonic()
        others = []
        while time.monotonic() - begun < 5:
            others.append(self.call_on_running_worker(node))
        os.kill(owner, signal.SIGCONT)
        first.expect("STREAM FILE queue-thereare .*")
        first.reply()
        first.expect('SAY NUMBER 1 ""')
        others = [number for number in others if number is not None]
        self.assertGreater(len(others), 3)
        eventually(lambda: self.call_on_running_worker(node), 10, "the next call is served")
        self.assertNotIn(1, others)
        self.assertEqual(len(others), len(set(others)))

    def owner(self, node, caller, workers):
        """The worker that holds this connection: its socket's inode is among its descriptors."""
        local, remote = caller.sock.getsockname(), caller.sock.getpeername()
        wanted = f"{remote[1]:04X}", f"{local[1]:04X}"
        with open("/proc/net/tcp", encoding="ascii") as file:
            inode = next(line.split()[9] for line in file
                         if (line.split()[1][-4:], line.split()[2][-4:]) == wanted)
        for pid in workers:
            for descriptor in os.listdir(f"/proc/{pid}/fd"):
                try:
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}") == f"socket:[{inode}]":
                        return pid
                except FileNotFoundError:
                    continue
        raise AssertionError("no worker holds the connection")

    def idle(self, pid):
        """All threads sleep, twice in a row with no switch in between: nothing is left to send."""
        def picture():
            states = []
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
                    text = file.read()
                states.append((task, "State:\tS" in text,
                               text[text.index("voluntary_ctxt_switches"):]))
            return states
        before = picture()
        time.sleep(0.05)
        return picture() == before and all(asleep for _, asleep, _ in before)

    def call_on_running_worker(self, node):
        """A call's number; None where the stopped worker's backlog got it."""
        try:
            return call(node, limit=1 / seconds(1)).number
        except OSError:
            return None


if __name__ == "__main__":
    unittest.main()
