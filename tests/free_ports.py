"""TCP ports for programs that are told theirs when they start."""

import contextlib
import errno
import pathlib
import random
import socket


def free_ports(count):
    """Below those that the kernel gives to outgoing connections, none of which can take one before its program does."""
    first_given = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    candidates = range(10_000, first_given) or [0]  # 0: whichever is free
    ports = []
    with contextlib.ExitStack() as held:  # all at once, so that they differ
        while len(ports) < count:
            one = held.enter_context(socket.socket())
            try:
                one.bind(("", random.choice(candidates)))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                ports.append(one.getsockname()[1])
    return ports
