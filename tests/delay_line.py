"""A switch that holds every frame for some time: `python tests/delay_line.py MILLISECONDS PORT PORT...`

In place of a bridge, for links with a delay (tc's netem does it too, but many kernels come without it).
Forwards between the network interfaces PORT until it is killed. Linux only.
"""

import select
import socket
import struct
import sys
import time
from collections import deque

# linux/if_packet.h and asm-generic/socket.h, where Python's socket module lacks them.
SOL_PACKET, ADD_MEMBERSHIP, VNET_HDR, IGNORE_OUTGOING, PROMISCUOUS = 263, 1, 15, 23, 1
SO_RCVBUFFORCE = 33
ALL_PROTOCOLS = 3
FRAME_BYTES = 1 << 17
BUFFER_BYTES = 16 << 20
"""What arrives while this process is not running waits here."""


def open_port(name: str) -> socket.socket:
    """A socket that reads and writes whole frames, with the header that keeps several segments of TCP in one."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(SOL_PACKET, VNET_HDR, 1)
    port.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
    port.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    port.bind((name, ALL_PROTOCOLS))
    request = struct.pack("iHH8s", socket.if_nametoindex(name), PROMISCUOUS, 0, b"")
    port.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, request)
    port.setblocking(False)
    return port


def forward(ports: list[socket.socket], seconds: float) -> None:
    """Give each frame to all other ports, `seconds` after it came."""
    others = {port: [other for other in ports if other is not port] for port in ports}
    held: deque[tuple[float, socket.socket, bytes]] = deque()
    while True:
        wait = max(0.0, held[0][0] - time.monotonic()) if held else None
        for port in select.select(ports, [], [], wait)[0]:
            try:
                held.append((time.monotonic() + seconds, port, port.recv(FRAME_BYTES)))
            except OSError:  # this cable has been pulled
                continue
        while held and held[0][0] <= time.monotonic():
            _, port, frame = held.popleft()
            for other in others[port]:
                try:
                    other.send(frame)
                except OSError:
                    continue


if __name__ == "__main__":
    opened = [open_port(name) for name in sys.argv[2:]]
    print("ready", flush=True)
    forward(opened, float(sys.argv[1]) / 1000)
