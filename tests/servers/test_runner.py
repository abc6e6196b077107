"""run.py itself, on which it depends that no test is dropped in silence: small modules of tests, of which each ends in
another way."""

import os
import signal
import subprocess
import sys
import textwrap
import unittest

from harness import ServerTest, alive, die_with_parent, eventually, free_port, seconds

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.py")


class Runner(ServerTest):
    def begin(self, text, *words):
        with open(os.path.join(self.folder, "sample.py"), "w", encoding="utf-8") as file:
            file.write("import atexit, os, signal, time, unittest\nfrom harness import alone, eventually, free_port\n"
                       "HERE = os.path.dirname(__file__)\ndef mark(name):\n"
                       "    open(os.path.join(HERE, name), 'w').write(str(os.getpid()))\n" + textwrap.dedent(text))
        env = dict(os.environ, PYTHONPATH=self.folder, PART="part", TALLY_LABEL="", PART_RESULTS=self.path("results"))
        self.addCleanup(lambda: process.poll() is None and process.kill())
        process = subprocess.Popen([sys.executable, "-B", RUN, "--log", self.path("log"), *words, "sample"], env=env,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                   preexec_fn=die_with_parent)
        return process

    def path(self, name):
        return os.path.join(self.folder, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def results(self, text, *words):
        """The exit code, and what run.sh reads."""
        process = self.begin(text, *words)
        self.said = process.communicate(timeout=seconds(60))[0]
        return process.returncode, self.read("results").splitlines()

    def test_results_are_in_the_order_of_the_tests_whichever_ends_first(self):
        code, results = self.results("""
            class T(unittest.TestCase):
                def test_a(self):
                    path = os.path.join(HERE, "b")
                    pid = int(eventually(lambda: os.path.exists(path) and open(path).read(), 20))
                    eventually(lambda: not os.path.exists(f"/proc/{pid}"), 20)
                def test_b(self):
                    mark("b")
            """, "--jobs", "2")
        self.assertEqual((code, results), (0, ["pass part: a", "pass part: b"]), self.said)

    def test_a_test_whose_process_dies_has_failed_and_the_others_go_on(self):
        code, results = self.results("""
            class T(unittest.TestCase):
                def test_a(self):
                    os.kill(os.getpid(), signal.SIGKILL)
                def test_b(self):
                    os._exit(0)
                def test_c(self):
                    self.fail()
                def test_d(self):
                    pass
            """)
        self.assertEqual((code, results), (1, [
            "fail part: a: its process ended with signal 9", "fail part: b: its process ended with exit code 0",
            "fail part: c", "pass part: d"]), self.said)

    def test_each_test_of_a_class_that_is_skipped_or_cannot_be_set_up_has_a_result(self):
        code, results = self.results("""
            class S(unittest.TestCase):
                @classmethod
                def setUpClass(cls):
                    raise unittest.SkipTest("no room")
                def test_a(self): pass
                def test_b(self): pass
            class T(S):
                @classmethod
                def setUpClass(cls):
                    raise OSError()
            """)
        self.assertEqual((code, results), (1, ["skip part: a: no room", "skip part: b: no room", "fail part: a",
                                               "fail part: b"]), self.said)

    def test_what_is_marked_alone_has_nothing_beside_it(self):
        code, results = self.results("""
            def busy():
                return [name for name in os.listdir(HERE) if name.startswith("busy")]
            class T(unittest.TestCase):
                @alone("it measures")
                def test_a(self):
                    mark("busy-a")
                    self.assertEqual(busy(), ["busy-a"])
                    os.unlink(os.path.join(HERE, "busy-a"))
                @alone("it measures")
                def test_b(self):
                    self.test_a()
            for name in "cdef":
                def test(self, name=name):
                    mark("busy-" + name)
                    time.sleep(0.2)
                    os.unlink(os.path.join(HERE, "busy-" + name))
                setattr(T, "test_" + name, test)
            """, "--jobs", "4")
        self.assertEqual((code, [line.split()[-1] for line in results]), (0, list("cdefab")), self.said)

    def test_at_ctrl_c_every_process_cleans_up_and_ends(self):
        process = self.begin("""
            class T(unittest.TestCase):
                def test_a(self):
                    atexit.register(mark, "cleaned-a")
                    mark("a")
                    time.sleep(60)
                def test_b(self):
                    atexit.register(mark, "cleaned-b")
                    mark("b")
                    time.sleep(60)
            """, "--jobs", "2")
        pids = [int(eventually(lambda name=name: os.path.exists(self.path(name)) and self.read(name), 20, name))
                for name in ("a", "b")]
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=seconds(20))[0]
        self.assertEqual(process.returncode, 1, said)
        self.assertFalse([pid for pid in pids if alive(pid)])
        for name in ("cleaned-a", "cleaned-b"):
            self.assertTrue(os.path.exists(self.path(name)), name)

    def test_no_two_tests_get_the_same_port(self):
        port = free_port()
        code, _ = self.results(f"""
            import harness
            class T(unittest.TestCase):
                def test_a(self):
                    self.assertFalse(harness._claim({port}))
            """)
        self.assertEqual(code, 0, self.said)


if __name__ == "__main__":
    unittest.main()
