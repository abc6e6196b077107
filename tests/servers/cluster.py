"""Clusters for tests: nodes that know each other, on loopback or in network namespaces (netns.py)."""

import hashlib
import json
import os
import re
import shutil
import signal
import struct

from harness import LONG, TALLYD, Node, ServerTest, call, eventually, free_port, run
from test_kills import Load

CALLS = 20000 if LONG else 1500


class Member(Node):
    """A node of a cluster."""

    def __init__(self, folder, name, workers=1, more="", log="segment-size = 2m", scripts="",
                 host=None):
        self.name, self.peers, self.host = name, [], host
        self.member_workers, self.more, self.log_lines, self.scripts = workers, more, log, scripts
        self.peer_port = 4574 if host else free_port()
        self.peer_host = self.listen_host = host.address if host else "127.0.0.1"
        super().__init__(folder, port=4573 if host else None)
        self.key = re.search(r"^key +(\w{64})$", run(TALLYD, "-c", self.conf, "-k").stdout,
                             re.M).group(1)

    @property
    def address(self):
        """Where the others find it."""
        return f"{self.peer_host}:{self.peer_port}"

    def write_conf(self, *_, **__):
        with open(self.conf, "w", encoding="utf-8") as file:
            file.write(f"[node]\nname = {self.name}\nstate = {self.state}\n"
                       f"peer-listen = {self.listen_host}:{self.peer_port}\n{self.more}\n"
                       f"[fastagi]\nlisten = 127.0.0.1:{self.port}\n"
                       f"workers = {self.member_workers}\n[log]\n{self.log_lines}\n{self.scripts}\n")
            for name, address, key in self.peers:
                file.write(f"[peer {name}]\naddress = {address}\nkey = {key}\n")

    def knows(self, *others):
        """Write a tally.conf with these peers: members, or (name, address, key)."""
        self.peers = [(other.name, other.address, other.key) if isinstance(other, Member)
                      else other for other in others]
        self.write_conf()
        return self

    def reload(self):
        self.master.send_signal(signal.SIGHUP)

    def status(self):
        """What the running node says. tallyctl's exit code is 1 where something is not well, which is looked at here;
        where the process does not answer in time it reads the files, which know less."""
        def said():
            out = json.loads(self.ctl("--json", "status", check=False).stdout or "{}")
            return out if "peers" in out else None
        return eventually(said, 20, f"{self.name} says how it is")

    def peer(self, name):
        """What this node says of a peer."""
        lines = self.ctl("--json", "peers").stdout.splitlines()
        return next((p for p in map(json.loads, lines) if p["name"] == name), None)

    def counters(self):
        return self.ctl("--json", "counters").stdout

    def blocks(self):
        """Every count that the log holds, by stream and block."""
        return sorted(self.ctl("--json", "log").stdout.splitlines())

    def count(self, counter, limit=10):
        return call(self, "count", [counter], limit=limit).variables

    def wipe(self):
        """All is lost but the key, which is the node."""
        shutil.rmtree(os.path.join(self.state, "log"))

    def raw_blocks(self, folders=()):
        """{stream: {number: hash of the block's bytes, signature and all}} of what stands in the log, and in
        further folders with segments. Read from the files, as replica/FORMAT.md has them: no code of Tally's
        is trusted. The node must be at rest, or ended."""
        found = {}
        for folder in [os.path.join(self.state, "log"), *folders]:
            for path in sorted(os.listdir(folder)):
                if path.endswith(".log"):
                    with open(os.path.join(folder, path), "rb") as file:
                        read_segment(file.read(), found)
        return found


def read_segment(data, found):
    at = 64
    while data[at + 8:at + 12] == b"TLYF":
        size, = struct.unpack_from("<I", data, at + 12)
        payload = data[at + 32:at + 32 + size]
        at += 32 + size
        if payload[0] < 0xFC:  # a block, of whatever format; others are proofs, and that a checkpoint was taken over
            number, shift, i = 0, 0, 17
            while True:
                number |= (payload[i] & 0x7F) << shift
                shift, i = shift + 7, i + 1
                if payload[i - 1] < 0x80:
                    break
            digest = hashlib.blake2b(payload, digest_size=16).digest()
            held = found.setdefault(payload[1:17], {}).setdefault(number, digest)
            assert held == digest, f"stream {payload[1:17].hex()} has two blocks {number}"


class Cluster(ServerTest):
    def member(self, name, **settings):
        member = Member(os.path.join(self.folder, name), name, **settings)
        self.nodes.append(member)
        return member

    def cluster(self, count=3, start=True, **settings):
        """Nodes that know each other; each is in its own list, too."""
        members = [self.member(f"n{i}", **settings) for i in range(1, count + 1)]
        return self.acquainted(members, start)

    def acquainted(self, members, start=True):
        for member in members:
            member.knows(*members)
        if start:
            for member in members:
                member.launch()
            for member in members:
                self.wait_counting(member)
        return members

    def wait_counting(self, member, limit=20):
        """Until it says numbers: it has caught up with a peer."""
        member.wait_serving(limit)
        eventually(lambda: not member.status()["joining"], limit, f"{member.name} says numbers")

    def load(self, member, calls=CALLS, concurrency=8, **options):
        load = Load(member, calls, None if "rate" in options else concurrency, path="count/load",
                    **options)
        self.addCleanup(load.close)
        return load

    def wait_same(self, members, limit=30):
        """All come to the same counters."""
        eventually(lambda: len({m.status()["digest"] for m in members}) == 1 and
                   len({m.counters() for m in members}) == 1, limit, "all have the same counters")

    def assertSame(self, members, limit=30):
        """All come to the same counters, and hold the same blocks."""
        self.wait_same(members, limit)
        first = members[0].blocks()
        for member in members[1:]:
            self.assertEqual(member.blocks(), first, f"{member.name} and {members[0].name}")
        self.assertVerified(members)

    def assertVerified(self, members):
        """No node finds another's state wrong, and every signature in the logs is good."""
        for member in members:
            for other in members:
                said = member.peer(other.name)
                self.assertFalse(said and said["differs"], f"{member.name} of {other.name}")
            member.ctl("verify")

    def assertSameBytes(self, members, archives=None):
        """Where two nodes have a block of one stream and number, it is the same, byte for byte. With all that was
        ever moved out of the logs, {member: [folder]}, no block is missing. How many there are."""
        everything = {}
        for member in members:
            raw = member.raw_blocks((archives or {}).get(member, ()))
            for stream, blocks in raw.items():
                merged = everything.setdefault(stream, {})
                for number, digest in blocks.items():
                    self.assertEqual(merged.setdefault(number, digest), digest,
                                     f"block {number} of stream {stream.hex()} at {member.name}")
        if archives is not None:
            for stream, blocks in everything.items():
                self.assertEqual(len(blocks), max(blocks), f"blocks of stream {stream.hex()}")
        count = sum(map(len, everything.values()))
        self.assertGreater(count, 0, "there is something to compare")
        return count
