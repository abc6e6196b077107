"""agicall against servers that behave and servers that do not: what it shows and how it ends."""

import json
import os
import socket
import struct
import threading
import time
import unittest

from harness import AGICALL, ServerTest, alone, free_port, run, seconds


class Server:
    """A FastAGI server of a few lines: talk(self, connection) for each connection, in a thread."""

    def __init__(self, talk):
        self._talk, self._socket = talk, socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(512)
        self.url = f"agi://127.0.0.1:{self._socket.getsockname()[1]}/hits"
        self.greetings = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
        with connection:
            try:
                self._talk(self, connection)
            except OSError:
                pass

    def greet(self, connection):
        """Read the environment, no byte more."""
        data = b""
        while not data.endswith(b"\n\n"):
            byte = connection.recv(1)
            if not byte:
                raise OSError("closed in the environment")
            data += byte
        self.greetings.append(data.decode())

    def close(self):
        self._socket.close()


def ask(connection, line):
    """Send a command and read its answer's first bytes."""
    connection.sendall(line.encode() + b"\n")
    return connection.recv(65536).decode()


def say(number):
    """A talk that says a number, hangs up and closes as it should."""
    def talk(server, connection):
        server.greet(connection)
        ask(connection, "ANSWER")
        ask(connection, f'SAY NUMBER {number} ""')
        ask(connection, "HANGUP")
    return talk


class Agicall(ServerTest):
    def server(self, talk):
        server = Server(talk)
        self.addCleanup(server.close)
        return server

    def ends(self, talk, code, *options, text=""):
        """agicall against that talk ends with that exit code, and says that text."""
        done = run(AGICALL, *options, self.server(talk).url, check=False)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        self.assertIn(text, done.stdout + done.stderr)
        return done

    def test_a_call_is_shown_line_by_line_and_ends_with_what_the_dialplan_sees(self):
        done = self.ends(say(42), 0)
        shown = [line for line in done.stdout.splitlines() if not line.startswith("> agi_")
                 and not line.startswith("  ")]
        self.assertEqual(shown, ["< ANSWER", "> 200 result=0", '< SAY NUMBER 42 ""',
                                 "> 200 result=0", "< HANGUP", "> 200 result=1", "> HANGUP",
                                 "> HANGUP", "AGISTATUS=HANGUP"])
        self.assertNotIn("\033", done.stdout, "no colour where it is not a terminal")

    def test_json_tells_of_one_call_in_one_object(self):
        def talk(server, connection):
            server.greet(connection)
            ask(connection, 'SET VARIABLE TALLY_NUMBER "9007199254740993"')
            ask(connection, 'SET VARIABLE TALLY_STATUS "FINAL"')
        told = json.loads(self.ends(talk, 0, "--json").stdout)
        self.assertEqual(told["number"], 9007199254740993)
        self.assertEqual(told["variables"]["TALLY_STATUS"], "FINAL")
        self.assertEqual(len(told["commands"]), 2)
        self.assertEqual((told["agistatus"], told["calls"], told["ok"]), ("SUCCESS", 1, 1))

    def test_the_environment_says_what_the_options_say(self):
        server = self.server(say(1))
        run(AGICALL, "--callerid", "77", "--env", "dnid=5", "--uniqueid", "1.2", server.url, "a", "b c")
        self.assertTrue(server.greetings[0].startswith("agi_network: yes\nagi_network_script: hits\n"))
        for line in ("agi_callerid: 77", "agi_dnid: 5", "agi_uniqueid: 1.2", "agi_arg_1: a",
                     "agi_arg_2: b c"):
            self.assertIn(f"\n{line}\n", server.greetings[0])

    def test_calls_of_a_load_have_unique_ids_of_their_own(self):
        server = self.server(say(1))
        run(AGICALL, "--load", "--calls", "50", "--concurrency", "8", server.url)
        ids = [line for greeting in server.greetings for line in greeting.splitlines()
               if line.startswith("agi_uniqueid")]
        self.assertEqual((len(ids), len(set(ids))), (50, 50))

    def test_what_goes_wrong_is_told_by_the_exit_code(self):
        def empty(_, connection):
            pass

        def reset(server, connection):
            server.greet(connection)
            ask(connection, "ANSWER")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        def mid_command(server, connection):
            server.greet(connection)
            connection.sendall(b'SAY NUMBER 1 ""\n')
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass

        def unknown(server, connection):
            server.greet(connection)
            ask(connection, "NONSENSE")

        def error(server, connection):
            server.greet(connection)
            ask(connection, 'SET VARIABLE TALLY_STATUS "UNAVAILABLE"')

        def nul(server, connection):
            server.greet(connection)
            ask(connection, "NO\0OP")

        def missing(server, connection):
            server.greet(connection)
            ask(connection, 'STREAM FILE beep ""')

        self.ends(empty, 4, text="before it sent a command")
        self.ends(reset, 4, text="broke off")
        self.ends(mid_command, 4, "--think", "1h", text="broke off")
        self.ends(nul, 4, text="NUL")
        self.ends(unknown, 1, text="510")
        self.ends(error, 1, text="TALLY_STATUS=UNAVAILABLE")
        self.ends(missing, 1, "--missing", "beep", text="AGISTATUS=FAILURE")
        done = run(AGICALL, f"agi://127.0.0.1:{free_port()}/", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertIn("refused", done.stderr)

    def test_a_silent_server_and_an_endless_line_are_bounded(self):
        ended = threading.Event()
        self.addCleanup(ended.set)

        def silent(server, connection):
            server.greet(connection)
            ended.wait(seconds(60))

        def endless(server, connection):
            server.greet(connection)
            while True:
                connection.sendall(b"x" * 65536)

        self.ends(silent, 4, "--timeout", "300ms", text="nothing for too long")
        self.ends(endless, 4, text="8191 bytes")

    def test_the_caller_hangs_up_when_told_to(self):
        answers = []

        def talk(server, connection):
            server.greet(connection)
            for command in ("ANSWER", 'STREAM FILE a ""', 'SAY NUMBER 1 ""'):
                answers.append(ask(connection, command))

        self.ends(talk, 0, "--hangup-at", "2", text="AGISTATUS=HANGUP")
        self.assertEqual(answers[1], "200 result=-1 endpos=4000\nHANGUP\n")
        self.assertTrue(answers[2].startswith("511 "))

        def wait(server, connection):
            server.greet(connection)
            ask(connection, "ANSWER")
            connection.recv(100)

        self.ends(wait, 0, "--hangup-after", "100ms", text="AGISTATUS=HANGUP")

    def test_a_number_is_in_the_file_before_the_server_hears_back(self):
        path = os.path.join(self.folder, "numbers")
        seen = []

        def talk(server, connection):
            server.greet(connection)
            ask(connection, 'SAY NUMBER 7 ""')
            with open(path, encoding="ascii") as file:
                seen.append(file.read())

        self.ends(talk, 0, "--numbers", path)
        self.assertEqual(seen, ["7\n"])

    def test_keys_are_pressed_and_a_terminal_is_safe_from_what_a_server_sends(self):
        def talk(server, connection):
            server.greet(connection)
            ask(connection, "GET DATA beep 60000 2")
            ask(connection, 'VERBOSE "\x1b[31m"')
        self.ends(talk, 0, "--keys", "12", text="> 200 result=12\n")
        self.assertIn("\\x1b[31m", self.ends(talk, 0, "--keys", "12").stdout)

    def test_a_load_counts_calls_by_how_they_ended(self):
        def every_second(server, connection):
            server.greet(connection)
            ask(connection, "ANSWER")
            if len(server.greetings) % 2 == 0:
                ask(connection, 'SAY NUMBER 1 ""')
        server = self.server(every_second)
        done = run(AGICALL, "--load", "--json", "--calls", "20", "--concurrency", "1", server.url,
                   check=False)
        told = json.loads(done.stdout)
        self.assertEqual(done.returncode, 1)
        self.assertEqual((told["calls"], told["ok"], told["failures"]), (20, 10, {"no_number": 10}))
        done = run(AGICALL, "--load", "--json", "--calls", "20", "--expect", "close", server.url)
        self.assertEqual(json.loads(done.stdout)["ok"], 20)

    def test_a_share_of_callers_hangs_up_the_same_with_the_same_seed(self):
        def talk(server, connection):
            server.greet(connection)
            for command in ("ANSWER", 'STREAM FILE a ""', 'SAY NUMBER 1 ""', 'STREAM FILE b ""'):
                if "HANGUP" in ask(connection, command):
                    return
        told = [json.loads(run(AGICALL, "--load", "--json", "--calls", "200", "--concurrency", "8",
                               "--hangup-percent", "30", "--seed", "5", self.server(talk).url).stdout)
                for _ in range(2)]
        self.assertEqual(told[0]["hung_up"], told[1]["hung_up"])
        self.assertGreater(told[0]["hung_up"], 30)
        self.assertLess(told[0]["hung_up"], 90)

    @alone("measures a rate")
    def test_an_open_loop_keeps_its_rate_and_its_bound(self):
        highest, open_now, lock = [0], [0], threading.Lock()

        def talk(server, connection):
            with lock:
                open_now[0] += 1
                highest[0] = max(highest[0], open_now[0])
            say(1)(server, connection)
            with lock:
                open_now[0] -= 1
        done = run(AGICALL, "--load", "--json", "--rate", "100", "--calls", "50", "--max-open", "5",
                   self.server(talk).url)
        self.assertGreater(json.loads(done.stdout)["seconds"], 0.45)
        self.assertLessEqual(highest[0], 5 + 1, "a server's thread may end after the call did")

    def test_a_connect_is_tried_again_as_long_as_it_may(self):
        port = free_port()
        begun = time.monotonic()
        done = run(AGICALL, "--retry-connect", "300ms", f"agi://127.0.0.1:{port}/", check=False)
        self.assertEqual(done.returncode, 3)
        self.assertGreaterEqual(time.monotonic() - begun, 0.3)

    def test_a_mistake_on_the_command_line_is_named(self):
        for words, text in ((["--nonsense"], "--nonsense"), (["--calls", "5"], "--load"),
                            (["--load", "--calls", "0"], "--calls"), (["--think", "5"], "--think"),
                            (["--keys", "1x"], "--keys"), (["--var", "x"], "--var")):
            done = run(AGICALL, *words, "agi://127.0.0.1:1/", check=False)
            self.assertEqual(done.returncode, 2, words)
            self.assertIn(text, done.stderr)
            self.assertIn("agicall --help", done.stderr)
        self.assertEqual(run(AGICALL, "http://127.0.0.1/", check=False).returncode, 2)
        self.assertIn("usage", run(AGICALL, "--help").stdout)


if __name__ == "__main__":
    unittest.main()
