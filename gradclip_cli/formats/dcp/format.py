"""How distributed checkpoints are known; what reads them comes when there is one."""

from gradclip_cli.formats.registry import Format, lazily

_NAMES = b"torch.distributed.checkpoint.metadata"


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is the metadata of such a checkpoint."""
    return head.startswith(b"\x80") and _NAMES in head[:64]


DCP = Format(
    "dcp",
    (),
    recognised,
    lazily("gradclip_cli.formats.dcp.chunks:locate"),
    anywhere=True,
    marks=(".metadata",),
    parts=(".distcp",),
)
