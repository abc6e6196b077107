"""Hosts in network namespaces of their own, joined by a network that can be made bad: see wire.py.

A namespace here has no name: it lives as long as a process is in it or this one has its descriptor, and its
device as long as the process that is the network. So nothing is left behind however a run ends, and runs at
the same time do not see each other. To look into one that runs: nsenter -t PID -n ip address
"""

import ctypes
import fcntl
import ipaddress
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import unittest

from harness import die_with_parent, run

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_SLAVE = 4096, 16384, 1 << 19
ESTABLISHED, SYN_SENT = "01", "02"  # as /proc/net/tcp has it
TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

_libc = ctypes.CDLL(None, use_errno=True)
_home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _check(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


class Namespace:
    """With it, the thread that uses it is inside: what sockets it makes, and what processes it starts, stay
    there."""

    def __init__(self):
        _check(_libc.unshare(CLONE_NEWNET), "unshare")
        try:
            self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        finally:
            _check(_libc.setns(_home, CLONE_NEWNET), "setns")

    def __enter__(self):
        _check(_libc.setns(self.fd, CLONE_NEWNET), "setns")

    def __exit__(self, *_):
        _check(_libc.setns(_home, CLONE_NEWNET), "setns")

    def close(self):
        os.close(self.fd)


class Host:
    """A namespace with an address of each kind, and perhaps names of its own for other hosts."""

    def __init__(self, number):
        self.number = number
        self.address, self.address6 = f"10.77.0.{number + 1}", f"fd77::{number + 1:x}"
        self.hosts = None  # a file in the place of /etc/hosts
        self.namespace = Namespace()
        with self.namespace:
            self.tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(self.tun, TUNSETIFF, struct.pack("16sH22x", b"net0", IFF_TUN | IFF_NO_PI))
        self.ip("link", "set", "lo", "up")
        self.ip("link", "set", "net0", "up", "txqueuelen", "10000")
        self.ip("address", "add", f"{self.address}/24", "dev", "net0")
        self.ip("address", "add", f"{self.address6}/64", "dev", "net0", "nodad")

    def ip(self, *words):
        with self.namespace:
            run("ip", *words)

    def enter(self):
        """For a child between fork and exec: it becomes a process of this host."""
        _check(_libc.setns(self.namespace.fd, CLONE_NEWNET), "setns")
        if self.hosts:
            _check(_libc.unshare(CLONE_NEWNS), "unshare")
            _check(_libc.mount(b"none", b"/", None, MS_REC | MS_SLAVE, None), "mount")
            _check(_libc.mount(os.fsencode(self.hosts), b"/etc/hosts", None, MS_BIND, None), "mount")

    def connect(self, address, port, limit):
        """A connection from this host."""
        with self.namespace:
            return socket.create_connection((address, port), timeout=limit)

    def call_hosts(self, path, names):
        """What this host's processes find in /etc/hosts from now on: {name: address}. Those that run see it only
        where they were started after the first time."""
        with open(path, "w", encoding="ascii") as file:  # the same file: it is mounted
            file.write("127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in names.items()))
        self.hosts = path

    def sockets(self):
        """This host's TCP sockets, as (local port, remote port, state)."""
        with self.namespace:
            lines = []
            for name in ("tcp", "tcp6"):
                with open(f"/proc/thread-self/net/{name}", encoding="ascii") as file:
                    lines += file.readlines()[1:]
        ends = [line.split()[1:4] for line in lines]
        return [(int(local[-4:], 16), int(remote[-4:], 16), state) for local, remote, state in ends]

    def close(self):
        os.close(self.tun)
        self.namespace.close()


class Net:
    """So many hosts that reach each other; settings of links are wire.py's."""

    def __init__(self, count, seed=0):
        self.hosts, self.wire = [], None
        self._capable()
        self.hosts = [Host(number) for number in range(count)]
        self.wire = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "wire.py"),
             str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            pass_fds=[host.tun for host in self.hosts], start_new_session=True,
            preexec_fn=die_with_parent)
        for host in self.hosts:
            self.command("host", fd=host.tun, addresses=[host.address, host.address6])

    def _capable(self):
        """Skip where this machine has no such thing."""
        if os.geteuid() != 0:
            raise unittest.SkipTest("network namespaces need root")
        if not shutil.which("ip"):
            raise unittest.SkipTest("there is no program ip: install iproute2")
        try:
            namespace = Namespace()
            with namespace:
                tun = os.open("/dev/net/tun", os.O_RDWR)
                fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"try", IFF_TUN | IFF_NO_PI))
            os.close(tun)
            namespace.close()
        except OSError as error:
            raise unittest.SkipTest(f"no network namespace with a TUN device: {error}") from None

    def command(self, do, **words):
        self.wire.stdin.write(json.dumps({"do": do, **words}) + "\n")
        self.wire.stdin.flush()
        line = self.wire.stdout.readline()
        if not line:
            raise AssertionError(f"the network ended at {do} {words}")
        return json.loads(line)

    def way(self, start, end, **settings):
        """How packets go from one host to another, in this direction alone."""
        self.command("link", **{"from": start.number, "to": end.number}, **settings)

    def link(self, one, other, **settings):
        """Both directions."""
        self.way(one, other, **settings)
        self.way(other, one, **settings)

    def all(self, **settings):
        for one in self.hosts:
            for other in self.hosts:
                if one.number < other.number:
                    self.link(one, other, **settings)

    def isolate(self, host, cut=True):
        for other in self.hosts:
            if other is not host:
                self.link(host, other, cut=cut)

    def move(self, host, address):
        """The host has this IPv4 address from now on, and no more the one before."""
        host.ip("address", "delete", f"{host.address}/24", "dev", "net0")
        host.ip("address", "add", f"{address}/24", "dev", "net0")
        host.address = address
        self.command("addresses", host=host.number, addresses=[address, host.address6])

    def capture(self, path):
        """Every packet from now on goes into this file; see tap()."""
        self.command("capture", path=path)

    def figures(self):
        return self.command("figures")

    def close(self):
        if self.wire:
            self.wire.kill()
            self.wire.communicate()
        for host in self.hosts:
            host.close()


def tap(path):
    """What went over TCP in a capture: {(address, port, address, port): bytes in their order}, from the first to the
    second."""
    flows = {}
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    while at < len(data):
        size, = struct.unpack_from("<I", data, at + 8)
        packet, at = data[at + 16:at + 16 + size], at + 16 + size
        if packet[0] >> 4 == 4:
            head, protocol, ends = 4 * (packet[0] & 15), packet[9], (packet[12:16], packet[16:20])
        else:
            head, protocol, ends = 40, packet[6], (packet[8:24], packet[24:40])
        if protocol != socket.IPPROTO_TCP:
            continue
        source, sink, number = struct.unpack_from(">HHI", packet, head)
        first, second = (str(ipaddress.ip_address(end)) for end in ends)
        flow = flows.setdefault((first, source, second, sink), {})
        payload = packet[head + 4 * (packet[head + 12] >> 4):]
        if packet[head + 13] & 2:  # SYN: where the numbers begin
            flow["from"] = number + 1
        elif payload:
            flow[number] = max(flow.get(number, b""), payload, key=len)
    return {ends: _in_order(flow) for ends, flow in flows.items()}


def _in_order(flow):
    start, out = flow.pop("from", 0), b""
    for number, payload in sorted(((n - start) % 2**32, p) for n, p in flow.items()):
        assert number <= len(out), "a packet is missing in the capture"
        out += payload[len(out) - number:]
    return out
