#!/usr/bin/python3
"""Runs tests of tests/servers, tests/asterisk, tests/monitoring and tests/package and says how each one ended.

  run.py [--log FILE] [--match TEXT]... MODULE[.CLASS[.TEST]]...
  run.py --minutes 10 [--seed N] test_network.Storms

MODULE is a file beside this one, or in one of the other folders, without its ".py". With --match only tests are run
whose name has one of the TEXTs. Each test prints one line, and what it says goes to FILE. Where
PART_RESULTS is set, each result is appended to that file, as tests/parts/lib.sh describes.
Exit code: 0 all passed or skipped, 1 some failed, 2 usage.
"""

import argparse
import contextlib
import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE] + [os.path.join(os.path.dirname(HERE), folder) for folder in ("asterisk", "monitoring", "package")]


class Result(unittest.TestResult):
    def __init__(self, log, results):
        super().__init__()
        self._log, self._results = log, results
        self._begun, self._last = 0.0, ""

    def startTest(self, test):
        super().startTest(test)
        self._begun, self._last = time.monotonic(), ""
        print(f"=== {test.id()}", file=self._log, flush=True)

    def _say(self, word, test, why=""):
        # tearDown may fail a test that has failed already: one test, one result.
        if self._last == test.id() and word == "fail":
            return
        self._last = test.id()
        name = test.id().rpartition(".")[2].removeprefix("test_").replace("_", " ")
        label = os.environ.get("TALLY_LABEL", "")
        taken = time.monotonic() - self._begun
        print(f"   {'ok  ' if word == 'pass' else word} {label}{name} ({taken:.1f} s)"
              f"{': ' + why if why else ''}", file=sys.__stdout__, flush=True)
        part = os.environ.get("PART", "")
        if self._results:
            print(f"{word} {part}: {label}{name}{': ' + why if why else ''}", file=self._results,
                  flush=True)

    def addSuccess(self, test):
        self._say("pass", test)

    def addSkip(self, test, reason):
        self._say("skip", test, reason)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._failed(test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self._failed(test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        # Called for those that pass, too; the test itself is then no success.
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(test, f"{subtest}\n{self._exc_info_to_string(err, test)}")

    def stopTest(self, test):
        super().stopTest(test)
        if self._last != test.id():
            self._failed(test, "it ended with no result")

    def _failed(self, test, text):
        self._say("fail", test)
        print(text, file=self._log, flush=True)
        for line in text.splitlines()[-25:]:
            print(f"   | {line}", file=sys.__stdout__, flush=True)


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--match", action="append", default=[])
    parser.add_argument("--minutes", help="how long a long run takes")
    parser.add_argument("--seed", help="of what is drawn in it")
    parser.add_argument("names", nargs="+", metavar="MODULE")
    options = parser.parse_args()
    for name in ("minutes", "seed"):
        if getattr(options, name):
            os.environ[f"TALLY_{name.upper()}"] = getattr(options, name)

    # Ended from outside is the same as Ctrl-C: what atexit knows is cleaned up, and nothing else runs.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    suite = unittest.defaultTestLoader.loadTestsFromNames(options.names)
    wanted = unittest.TestSuite(
        test for test in tests_of(suite)
        if not options.match or any(text in test.id() for text in options.match)
        or isinstance(test, unittest.loader._FailedTest))
    if not wanted.countTestCases():
        print("run.py: no such test", file=sys.stderr)
        return 2
    results_path = os.environ.get("PART_RESULTS")
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(options.log, "w", encoding="utf-8", errors="replace"))
        results = stack.enter_context(open(results_path, "a", encoding="utf-8")) \
            if results_path else None
        stack.enter_context(contextlib.redirect_stdout(log))
        result = Result(log, results)
        wanted.run(result)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("run.py: interrupted")
