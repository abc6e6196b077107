"""Runs tests side by side, each in a process of its own, and tells how they ended in the order in which they stand.

A Unit is what one process runs: a single test; or, where a class sets something up for all of its tests, the class.
Most tests wait more than they work, so several run at a time. Those that are marked alone (harness.alone) come last,
one after another, with nothing beside them.
"""

import atexit
import ctypes
import os
import signal
import sys
import traceback
import unittest

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


class Unit:
    def __init__(self, tests):
        self.tests, self.pid, self.code = tests, None, None

    def is_alone(self):
        return any(getattr(type(test), "alone", "") or getattr(getattr(test, test._testMethodName), "alone", "")
                   for test in self.tests)


def units_of(tests):
    """The units of a list of tests, in its order, those that run alone at its end."""
    units = []
    for test in tests:
        shared = type(test).setUpClass.__func__ is not unittest.TestCase.setUpClass.__func__
        if shared and units and type(units[-1].tests[0]) is type(test):
            units[-1].tests.append(test)
        else:
            units.append(Unit([test]))
    return sorted(units, key=Unit.is_alone)


class Runner:
    """work(unit) runs a unit, in its process; what it returns is the exit code, 0 to 255. done(unit) is called here, in
    the order of the units, once the one and all before it have ended; unit.code is then the exit code, or less than 0
    and a signal's number."""

    def __init__(self, units, jobs, work, done):
        self._waiting, self._jobs, self._work, self._done = list(units), jobs, work, done
        self._order, self._running = list(units), {}

    def run(self):
        try:
            while self._waiting or self._running:
                while self._waiting and self._may_begin(self._waiting[0]):
                    self._begin(self._waiting.pop(0))
                pid, status = os.wait()
                unit = self._running.pop(pid)
                unit.code = os.waitstatus_to_exitcode(status)
                while self._order and self._order[0].code is not None:
                    self._done(self._order.pop(0))
        finally:
            self._end()

    def _may_begin(self, unit):
        return len(self._running) < (1 if unit.is_alone() else self._jobs)

    def _begin(self, unit):
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        # From here on until it is known which process there is, nobody interrupts.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        unit.pid = os.fork()
        if unit.pid == 0:
            self._child(unit, parent, held)
        self._running[unit.pid] = unit
        signal.pthread_sigmask(signal.SIG_SETMASK, held)

    def _child(self, unit, parent, held):
        """Never returns. Ctrl-C does not come here by itself: who began it ends it."""
        code = 130
        try:
            os.setsid()
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
            if os.getppid() == parent:
                code = self._work(unit)
        except KeyboardInterrupt:
            pass
        except BaseException:
            traceback.print_exc()
        finally:
            # What a test leaves to the end of the process (mounts, an Asterisk) is cleaned up.
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _end(self):
        """End those that still run, which is so only after an interruption. They clean up, and are waited for."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        for pid in self._running:
            os.kill(pid, signal.SIGTERM)
        for pid in self._running:
            os.waitpid(pid, 0)
