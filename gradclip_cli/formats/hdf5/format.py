"""How an HDF5 file is known: by its signature, at the front or behind a block of the user's."""

from functools import partial

from gradclip_cli.formats.registry import Format, lazily

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_PLACES = (0, 512, 1024, 2048)
_ROOM = "gradclip_cli.formats.foreign.listing"


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is HDF5."""
    return any(head.startswith(_SIGNATURE, at) for at in _PLACES)


HDF5 = Format(
    "hdf5",
    (".h5", ".hdf5", ".he5"),
    recognised,
    partial(lazily(f"{_ROOM}:located"), "gradclip_cli.formats.hdf5.reader:library"),
    lazily(f"{_ROOM}:not_written"),
    anywhere=True,
    extra="hdf5",
)
