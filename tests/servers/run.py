#!/usr/bin/python3
"""Runs tests of tests/servers, tests/asterisk, tests/monitoring and tests/package and says how each one ended.

  run.py [--log FILE] [--jobs N] [--match TEXT]... MODULE[.CLASS[.TEST]]...
  run.py --minutes 10 [--seed N] test_network.Storms

MODULE is a file beside this one, or in one of the other folders, without its ".py". With --match only tests are run
whose name has one of the TEXTs. N tests run side by side (default: TALLY_JOBS, or two for each CPU, at most 8; see
beside.py). Each test prints one line, and what it says goes to FILE; until it has ended, or if it is interrupted, to
FILE.NUMBER. Where PART_RESULTS is set, each result is appended to that file, as tests/parts/lib.sh describes.
Exit code: 0 all passed or skipped, 1 some failed, 2 usage.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE] + [os.path.join(os.path.dirname(HERE), folder) for folder in ("asterisk", "monitoring", "package")]

from beside import Runner, tests_of, units_of  # noqa: E402

PART, LABEL = os.environ.get("PART", ""), os.environ.get("TALLY_LABEL", "")


def name_of(test):
    """As it is told: a method's name is a sentence."""
    return f"{PART}: {LABEL}" + test.id().rpartition(".")[2].removeprefix("test_").replace("_", " ")


class Result(unittest.TestResult):
    """Tells of each of these tests once: people on `out`, run.sh in `results`; why it failed also in `log`."""

    def __init__(self, tests, out, results, log):
        super().__init__()
        self._untold, self._out, self._results, self._log = list(tests), out, results, log
        self._begun = time.monotonic()

    def startTest(self, test):
        super().startTest(test)
        self._begun = time.monotonic()
        print(f"=== {test.id()}", file=self._log)

    def _say(self, word, test, why=""):
        """Of a class whose set-up fails, or is skipped, this is said of each test that was not run for it."""
        for one in self._meant(test):
            self._untold.remove(one)
            name, taken = name_of(one), time.monotonic() - self._begun
            print(f"   {word:4} {name.partition(': ')[2]} ({taken:.1f} s){why}", file=self._out)
            print(f"{'pass' if word == 'ok' else word} {name}{why}", file=self._results)

    def _meant(self, test):
        if isinstance(test, unittest.TestCase):
            # tearDown may fail a test that has failed already: one test, one result.
            return [test] if test in self._untold else []
        # There is no better way to tell: its name is "setUpClass (module.Class)".
        of_class = re.sub(r".*\((.*)\)", r"\1.", test.id())
        return [one for one in self._untold if one.id().startswith(of_class)]

    def addSuccess(self, test):
        self._say("ok", test)

    def addSkip(self, test, reason):
        self._say("skip", test, f": {reason}")

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

    def finish(self):
        """What was not told of must not look like a good one."""
        for test in list(self._untold):
            self._failed(test, "it ended with no result")

    def _failed(self, test, text):
        self._say("fail", test)
        print(text, file=self._log)
        for line in text.splitlines()[-25:]:
            print(f"   | {line}", file=self._out)


class Run:
    """Units side by side. Each has files of its own for what is told, what run.sh reads and what is logged; in their
    order these become one of each."""

    def __init__(self, tests, jobs, log):
        self.failed = False
        self._units, self._jobs, self._log = units_of(tests), jobs, log
        self._results = os.environ.get("PART_RESULTS") or os.devnull
        self._folder = tempfile.mkdtemp(prefix="tally-tests-")

    def run(self):
        open(self._log, "w", encoding="utf-8").close()
        try:
            Runner(self._units, self._jobs, self._work, self._done).run()
        finally:
            shutil.rmtree(self._folder)

    def _path(self, unit, kind):
        number = self._units.index(unit) + 1
        if kind == "log" and self._log != os.devnull:
            return f"{self._log}.{number}"
        return os.path.join(self._folder, f"{kind}.{number}")

    def _work(self, unit):
        """In a process of the unit's own. Line by line: what is written stays if the process is killed."""
        def create(kind):
            return open(self._path(unit, kind), "w", encoding="utf-8", errors="replace", buffering=1)
        with create("out") as out, create("results") as results, create("log") as log:
            for stream in (1, 2):
                os.dup2(out.fileno(), stream)
            result = Result(unit.tests, out, results, log)
            with contextlib.redirect_stdout(log):
                unittest.TestSuite(unit.tests).run(result)
                result.finish()
        return 0 if result.wasSuccessful() else 1

    def _done(self, unit):
        said, results, log = (self._take(unit, kind) for kind in ("out", "results", "log"))
        if unit.code not in (0, 1) or results.count("\n") != len(unit.tests):
            # Whatever it told before: it did not get to its end.
            how = f"signal {-unit.code}" if unit.code < 0 else f"exit code {unit.code}"
            why = f"its process ended with {how}"
            said += "".join(f"   fail {name_of(test).partition(': ')[2]}: {why}\n" for test in unit.tests)
            results = "".join(f"fail {name_of(test)}: {why}\n" for test in unit.tests)
            self.failed = True
        self.failed |= unit.code != 0
        sys.stdout.write(said)
        sys.stdout.flush()
        for path, text in ((self._results, results), (self._log, log)):
            with open(path, "a", encoding="utf-8") as file:
                file.write(text)

    def _take(self, unit, kind):
        path = self._path(unit, kind)
        if not os.path.exists(path):
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.unlink(path)
        return text


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", default=os.devnull)
    parser.add_argument("--jobs", type=int, default=int(os.environ.get("TALLY_JOBS") or min(2 * os.cpu_count(), 8)))
    parser.add_argument("--match", action="append", default=[])
    parser.add_argument("--minutes", help="how long a long run takes")
    parser.add_argument("--seed", help="of what is drawn in it")
    parser.add_argument("names", nargs="+", metavar="MODULE")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error("--jobs needs a number from 1 on")
    for name in ("minutes", "seed"):
        if getattr(options, name):
            os.environ[f"TALLY_{name.upper()}"] = getattr(options, name)

    # Ended from outside is the same as Ctrl-C: what atexit knows is cleaned up, and nothing else runs. Who starts
    # this in the background may have it ignore Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    wanted = [test for test in tests_of(unittest.defaultTestLoader.loadTestsFromNames(options.names))
              if not options.match or any(text in test.id() for text in options.match)
              or isinstance(test, unittest.loader._FailedTest)]
    if not wanted:
        print("run.py: no such test", file=sys.stderr)
        return 2
    run = Run(wanted, options.jobs, options.log)
    run.run()
    return 1 if run.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("run.py: interrupted")
