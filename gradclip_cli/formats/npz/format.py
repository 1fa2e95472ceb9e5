"""Archives of arrays, `.npz`: known by their first member; what reads them comes when needed."""

from gradclip_cli.formats.registry import Format, lazily

_LOCAL = 30  # bytes of the header of a member, before its name
_PLACE = "gradclip_cli.formats.npz.arrays"


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is an archive of arrays, or an empty archive."""
    return head.startswith(b"PK\x05\x06") or first_name(head).endswith(b".npy")


def first_name(head: bytes) -> bytes:
    """Give the name of the first member of an archive that begins so; none is empty."""
    if not head.startswith(b"PK\x03\x04"):
        return b""
    return head[_LOCAL : _LOCAL + int.from_bytes(head[26:28], "little")]


NPZ = Format(
    "npz",
    (".npz",),
    recognised,
    lazily(f"{_PLACE}:locate"),
    lazily(f"{_PLACE}:copied"),
    lazily(f"{_PLACE}:laid_out"),
    magic=b"PK",
    anywhere=True,
)
