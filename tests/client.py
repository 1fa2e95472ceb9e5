"""Ask the server of `tests.server` for a run of gradclip, in place of a start of Python.

A start takes 0.14 s, nearly all of it imports that the server has done; to ask takes 0.01. As a
program (`python -I -S client.py SERVER ARGUMENTS`) it hands over its descriptors, working folder
and environment, waits, and exits with the status; so it is made of little that is to be imported.
"""

import os
import resource
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_STREAM, SOL_SOCKET, socket
from array import array
from collections.abc import Mapping, Sequence

WORD = 8  # bytes of a number that goes over the connection
AT_START = (
    *("LC_ALL", "PYTHONCOERCECLOCALE", "PYTHONIOENCODING", "PYTHONUNBUFFERED", "PYTHONUTF8"),
    "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION",
)
"""Variables that Python or Typer looks at when it starts, and not later."""


def ask(
    server: str,
    arguments: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    descriptors: Mapping[int, int],
    faults: str = "",
) -> socket:
    """Ask for a run; gives the connection, on which come its number and then how it fares.

    `descriptors` says which of ours becomes which of its; it has no others. `faults` are some
    of `tests.faulty`, as JSON.
    """
    numbers = " ".join(map(str, descriptors))
    variables = [f"{name}={value}" for name, value in environment.items()]
    fields = [folder, faults, numbers, str(len(arguments)), *arguments, *variables]
    body = b"\0".join(map(os.fsencode, fields))
    connection = socket(AF_UNIX, SOCK_STREAM)
    connection.connect(server)
    rights = SOL_SOCKET, SCM_RIGHTS, array("i", descriptors.values())
    connection.sendmsg([len(body).to_bytes(WORD, "little")], [rights])
    connection.sendall(body)
    return connection


def word(connection: socket) -> int | None:
    """Wait for the next number; nothing more comes where there is none."""
    data = connection.recv(WORD)  # so few bytes come together
    return int.from_bytes(data, "little", signed=True) if data else None


def main() -> None:
    """Run gradclip as the arguments, the surroundings and the descriptors say."""
    server, *arguments = sys.argv[1:]
    mine = sorted(int(name) for name in os.listdir("/dev/fd"))
    given = {number: number for number in mine if _is_open(number)}
    limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
    if limited or not given.keys() >= {0, 1, 2} or any(map(os.environ.get, AT_START)):
        os.execv(sys.executable, [sys.executable, "-m", "gradclip_cli", *arguments])
    connection = ask(server, arguments, os.getcwd(), os.environ, given)
    word(connection)
    ended = word(connection)
    if ended is None:
        sys.exit("the server of the tests is gone")
    status = os.waitstatus_to_exitcode(ended)
    os._exit(status if status >= 0 else 128 - status)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
