"""tallyctl doctor says of each thing that a node stands on whether it is well, or what to change."""

import json
import os
import socket
import subprocess
import unittest

from cluster import Cluster
from harness import TALLYCTL, run
from test_tallyctl import snapshot


class Doctor(Cluster):
    def lines(self, node, *words):
        """{check: [lines]}"""
        done = run(TALLYCTL, "--json", "doctor", *words or ("-c", node.conf), check=False)
        found = {}
        for line in map(json.loads, done.stdout.splitlines()):
            found.setdefault(line["check"], []).append(line)
        ill = any(not line["ok"] for lines in found.values() for line in lines)
        self.assertEqual(done.returncode, 1 if ill else 0, done.stderr)
        for line in sum(found.values(), []):
            self.assertEqual(line["ok"], line["do"] == "")
        return found

    def assertChange(self, lines, what, do):
        line = next(line for line in lines if not line["ok"])
        self.assertRegex(line["what"], what)
        self.assertIn(do, line["do"])

    def test_a_node_that_stands_well(self):
        node = self.node(scripts="").start()
        before = snapshot(os.path.join(node.state, "log"))
        names = sorted(os.listdir(node.state))
        found = self.lines(node)
        self.assertEqual(sorted(os.listdir(node.state)), names, "nothing stays")
        self.assertEqual(snapshot(os.path.join(node.state, "log")), before)
        for check in ("directory", "key", "room", "disk sync", "descriptors", "port"):
            self.assertTrue(all(line["ok"] for line in found[check]), found[check])
        self.assertIn("this node's", found["port"][0]["what"])
        self.assertRegex(found["disk sync"][0]["what"], r"^[\d.]+ ms mostly")
        text = run(TALLYCTL, "-c", node.conf, "doctor", check=False).stdout
        self.assertLessEqual(max(map(len, text.splitlines())), 80)
        self.assertNotIn("port", self.lines(node, "-d", node.state))
        node.stop()
        self.assertIn("is free", self.lines(node)["port"][0]["what"])

    def test_a_configuration_is_found_from_where_the_admin_stands(self):
        node = self.node(scripts="")
        node.start()
        done = subprocess.run([TALLYCTL, "-c", "tally.conf", "doctor"], cwd=node.folder, capture_output=True, text=True,
                              check=False)
        self.assertEqual(done.stderr, "")
        self.assertIn("port", done.stdout)

    def test_what_is_wrong_is_said_with_what_to_change(self):
        node = self.node(scripts="", fastagi="calls = 100000").start()
        self.assertChange(self.lines(node)["descriptors"], r"100096 are needed", "LimitNOFILE=")
        node.stop()
        with socket.create_server(("127.0.0.1", node.port)):
            self.assertChange(self.lines(node)["port"], "somebody listens on", "ss -ltnp")
        key = os.path.join(node.state, "node.key")
        os.chmod(key, 0o640)
        self.assertChange(self.lines(node)["key"], "mode 640", "chmod 600")
        os.unlink(key)
        self.assertChange(self.lines(node)["key"], "No such file", "backup")
        os.chmod(node.state, 0o777)
        self.assertChange(self.lines(node)["directory"], "mode 777", "chmod 700")

    def test_memory_is_no_disk_and_little_room_is_told(self):
        disk = self.small_disk("20m")
        node = self.node(scripts="", state=os.path.join(disk, "state"), log="segment-size = 2m\n").start()
        found = self.lines(node)
        self.assertChange(found["disk sync"], "ms mostly", "this is memory")
        self.assertChange(found["room"], "MiB are free", "make room")

    def test_a_port_that_a_running_node_has_not_is_told(self):
        node = self.node(scripts="").start()
        with open(node.conf, encoding="utf-8") as file:
            text = file.read()
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with open(node.conf, "w", encoding="utf-8") as file:
                file.write(text.replace(f":{node.port}", f":{port}"))
            self.assertChange(self.lines(node)["port"], "somebody else listens", "ss -ltnp")
        self.assertChange(self.lines(node)["port"], "nobody listens", "SIGHUP")

    def test_the_ports_of_a_cluster_and_the_sounds_of_scripts(self):
        a, _ = self.cluster(2)
        ports = self.lines(a)["port"]
        self.assertEqual(["peers: 127.0.0.1" in line["what"] for line in ports], [False, True])
        self.assertTrue(all(line["ok"] for line in ports), ports)
        if os.geteuid() != 0:
            self.skipTest("mounting a file system needs root")
        # Its own view of /var/lib, with an Asterisk that lacks two sounds.
        sounds = "/var/lib/asterisk/sounds/en"
        done = run("unshare", "-m", "sh", "-ec",
                   f"mount -t tmpfs none /var/lib; mkdir -p {sounds}; cd {sounds}; touch vm-goodbye.gsm "
                   f"auth-thankyou.ulaw please-try-call-later.wav; {TALLYCTL} -c {a.conf} --json doctor || :")
        lines = [line for line in map(json.loads, done.stdout.splitlines()) if line["check"] == "sounds"]
        self.assertChange(lines, "sounds: queue-thereare", "install them")


if __name__ == "__main__":
    unittest.main()
