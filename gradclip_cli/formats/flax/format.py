"""How a file of `flax.serialization` is known: a map, or an array alone, and an array near."""

import re
from functools import partial

from gradclip_cli.formats.registry import Format, lazily

# An extension of type 1 that begins with a list of three, whose first is a list: an array's shape.
_ARRAY = re.compile(rb"(\xc7.|\xc8..|\xc9....|[\xd4-\xd8])\x01\x93[\x90-\x9f\xdc\xdd]", re.DOTALL)
_MAP = re.compile(rb"([\x81-\x8f]|\xde..|\xdf....)[\xa0-\xbf\xd9]", re.DOTALL)
_ROOM = "gradclip_cli.formats.foreign.listing"


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is one of Flax."""
    return bool(_ARRAY.match(head) or (_MAP.match(head) and _ARRAY.search(head)))


FLAX = Format(
    "flax",
    (".msgpack",),
    recognised,
    partial(lazily(f"{_ROOM}:located"), "gradclip_cli.formats.flax.reader:library"),
    lazily(f"{_ROOM}:not_written"),
    anywhere=True,
    extra="flax",
)
