"""How Zarr and Orbax are known: a folder with a file of one of their names is one dump."""

from gradclip_cli.formats.registry import Format, lazily

MARKS = ("_METADATA", "manifest.ocdbt", "zarr.json", ".zgroup", ".zarray")
_HEADS = (b'{"tree_metadata"', b"\x0c\xdb\x3a\x2a")  # of Orbax, and of its database


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so makes its folder a dump."""
    return head.startswith(_HEADS) or (head[:1] == b"{" and b'"zarr_format"' in head)


ZARR = Format(
    "zarr",
    (),
    recognised,
    lazily("gradclip_cli.formats.zarr.folder:located"),
    lazily("gradclip_cli.formats.foreign.listing:not_written"),
    anywhere=True,
    marks=MARKS,
    extra="zarr",
)
