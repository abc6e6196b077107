#!/usr/bin/python3
"""The network between the hosts of netns.py: every packet of theirs passes through this process, which delays,
loses, repeats and reorders it, or drops it in silence where a link is cut.

`tc netem` does the same, but is a module that kernels for virtual machines often lack; this needs a kernel with
/dev/net/tun, and sees all that passes, so that it is a tap, too. Each host has a TUN device, whose other end is
a descriptor here; devices and packets are gone with this process.

Commands come as lines of JSON on stdin, each is answered by one line on stdout once it is in force:

  {"do": "host", "fd": N, "addresses": [...]}      the next host, from 0; its addresses
  {"do": "addresses", "host": H, "addresses": []}  it has others from now on
  {"do": "link", "from": A, "to": B, ...}          how packets go from A to B; what is not said stays
      "cut"        true: they vanish
      "delay"      seconds
      "jitter"     up to so many seconds more, drawn for each packet: they may overtake each other
      "loss"       0 to 1, of packets, as are the next two
      "duplicate"  comes twice
      "reorder"    goes ahead of all that waits
      "rate"       bytes a second; 0: no bound. What would wait longer than QUEUE seconds is dropped
  {"do": "capture", "path": P}                     every packet that a host sends goes to this file, as of tcpdump
  {"do": "figures"}                                answered with what became of packets, for each pair
"""

import heapq
import ipaddress
import json
import os
import random
import select
import struct
import sys
import time

QUEUE = 0.5  # seconds that a packet may wait where the rate is bounded
TURN = 64  # packets taken from one host before the others have their turn
PACKET_MAX = 65536
PCAP_RAW = 101  # the link type of packets that begin with their IP header


class Link:
    """How packets go from one host to another."""

    def __init__(self):
        self.cut, self.delay, self.jitter, self.loss = False, 0.0, 0.0, 0.0
        self.duplicate, self.reorder, self.rate = 0.0, 0.0, 0.0
        self.free_at = 0.0  # when all that was sent is through, where the rate is bounded
        self.passed, self.bytes, self.lost, self.blackholed, self.crowded = 0, 0, 0, 0, 0

    def due(self, now, size, chance):
        """When a packet arrives, once for each time that it does."""
        if self.cut:
            self.blackholed += 1
            return []
        if self.loss and chance() < self.loss:
            self.lost += 1
            return []
        if self.rate:
            if self.free_at - now > QUEUE:
                self.crowded += 1
                return []
            self.free_at = now = max(now, self.free_at) + size / self.rate
        self.passed += 1
        self.bytes += size
        if self.reorder and chance() < self.reorder:
            return [now]
        at = now + self.delay + (self.jitter * chance() if self.jitter else 0)
        return [at, at] if self.duplicate and chance() < self.duplicate else [at]


class Wire:
    def __init__(self, seed):
        self.fds, self.addresses = [], {}  # host -> descriptor; address as bytes -> host
        self.links = {}
        self.waiting, self.order = [], 0  # a heap of (when, order, host, packet)
        self.chance = random.Random(seed).random
        self.capture, self.nobody = None, 0
        self.poll = select.epoll()
        self.commands = b""

    def run(self):
        os.set_blocking(0, False)
        self.poll.register(0, select.EPOLLIN)
        while True:
            wait = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else -1
            for fd, _ in self.poll.poll(wait):
                if fd == 0:
                    if not self.hear():
                        return
                else:
                    self.take(fd)
            self.deliver()

    # Packets

    def take(self, fd):
        for _ in range(TURN):
            try:
                packet = os.read(fd, PACKET_MAX)
            except BlockingIOError:
                return
            now = time.monotonic()
            version = packet[0] >> 4
            to = self.addresses.get(packet[16:20] if version == 4 else packet[24:40])
            if to is None:
                self.nobody += 1  # multicast of IPv6, or an address that nobody has any more
                continue
            if self.capture:
                self.keep(packet)
            link = self.links[self.fds.index(fd), to]
            if not (link.delay or link.jitter or link.loss or link.rate or link.duplicate or
                    link.cut):
                link.passed += 1
                link.bytes += len(packet)
                self.put(to, packet)
                continue
            for at in link.due(now, len(packet), self.chance):
                self.order += 1
                heapq.heappush(self.waiting, (at, self.order, to, packet))

    def deliver(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, _, to, packet = heapq.heappop(self.waiting)
            self.put(to, packet)

    def put(self, to, packet):
        try:
            os.write(self.fds[to], packet)
        except OSError:
            pass  # The host does not take it: lost, as packets are.

    def keep(self, packet):
        micros = int(time.time() * 1e6)
        self.capture.write(struct.pack("<IIII", micros // 1000000, micros % 1000000, len(packet),
                                       len(packet)) + packet)

    # Commands

    def hear(self):
        """Whether whoever commands is still there."""
        data = os.read(0, PACKET_MAX)
        if not data:
            return False
        *lines, self.commands = (self.commands + data).split(b"\n")
        for line in lines:
            command = json.loads(line)
            answer = getattr(self, "do_" + command.pop("do"))(command)
            print(json.dumps(answer or {}), flush=True)
        return True

    def do_host(self, command):
        new = len(self.fds)
        os.set_blocking(command["fd"], False)
        self.fds.append(command["fd"])
        for other in range(len(self.fds)):
            self.links[new, other], self.links[other, new] = Link(), Link()
        self.poll.register(command["fd"], select.EPOLLIN)
        self.do_addresses({"host": new, "addresses": command["addresses"]})

    def do_addresses(self, command):
        self.addresses = {a: h for a, h in self.addresses.items() if h != command["host"]}
        for address in command["addresses"]:
            self.addresses[ipaddress.ip_address(address).packed] = command["host"]

    def do_link(self, command):
        link = self.links[command.pop("from"), command.pop("to")]
        for name, value in command.items():
            getattr(link, name)  # there is such a setting
            setattr(link, name, value)

    def do_capture(self, command):
        self.capture = open(command["path"], "wb", buffering=0)
        self.capture.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, PACKET_MAX, PCAP_RAW))

    def do_figures(self, _):
        return {"nobody": self.nobody,
                "links": [{"from": a, "to": b, "passed": link.passed, "bytes": link.bytes,
                           "lost": link.lost, "blackholed": link.blackholed,
                           "crowded": link.crowded}
                          for (a, b), link in self.links.items() if a != b]}


if __name__ == "__main__":
    Wire(int(sys.argv[1])).run()
