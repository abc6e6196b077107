#!/usr/bin/python3
"""A DNS server for tests, of the records in a zone file: dns.py ADDRESS FILE

Knows SRV and A, one record a line, all names absolute: "NAME IN SRV 10 0 4573 TARGET", "NAME IN A ADDRESS". Says
"ready" once it listens, on UDP port 53, and then each question that it is asked.
"""

import socket
import struct
import sys

A, SRV = 1, 33
NO_SUCH_NAME = 3


def encode_name(name):
    labels = name.rstrip(".").split(".")
    return b"".join(bytes([len(label)]) + label.encode() for label in labels) + b"\0"


def read_zone(path):
    """(name, type) -> records' data"""
    zone = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            if not line.strip():
                continue
            name, _, kind, *data = line.split()
            if kind == "SRV":
                zone.setdefault((name.lower(), SRV), []).append(
                    struct.pack(">HHH", *map(int, data[:3])) + encode_name(data[3]))
            else:
                zone.setdefault((name.lower(), A), []).append(socket.inet_aton(data[0]))
    return zone


def answer(zone, query):
    place, labels = 12, []
    while query[place]:
        labels.append(query[place + 1:place + 1 + query[place]].decode())
        place += 1 + query[place]
    name = ".".join(labels).lower() + "."
    kind = struct.unpack(">H", query[place + 1:place + 3])[0]
    question = query[12:place + 5]
    records = zone.get((name, kind), [])
    code = 0 if any(known == name for known, _ in zone) else NO_SUCH_NAME
    print(f"{name} {kind}: {len(records)}", flush=True)
    return (query[:2] + struct.pack(">HHHHH", 0x8580 | code, 1, len(records), 0, 0) + question +
            b"".join(b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(data)) + data
                     for data in records))


def main():
    zone = read_zone(sys.argv[2])
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((sys.argv[1], 53))
    print("ready", flush=True)
    while True:
        query, client = sock.recvfrom(512)
        sock.sendto(answer(zone, query), client)


if __name__ == "__main__":
    main()
