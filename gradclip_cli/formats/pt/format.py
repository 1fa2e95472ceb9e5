"""How files of `torch.save` are known; what reads them comes when there is one."""

import re

from gradclip_cli.formats.npz.format import first_name
from gradclip_cli.formats.registry import Format, lazily

# The first pickle of the older stream is a number; from protocol 4 on it has a frame.
_MAGIC = re.compile(rb"\x80[\x02-\x05](\x95.{8})?\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
_PLACE = "gradclip_cli.formats.pt.tensors"
_MEMBERS = {b"sys_info", b"storages", b"tensors", b"pickle"}


def recognised(head: bytes) -> bool:
    """Say whether a file that begins so is an archive or a stream of `torch.save`."""
    return first_name(head).endswith(b"/data.pkl") or is_stream(head) or is_tar(head)


def is_stream(head: bytes) -> bool:
    """Say whether a file that begins so is the older stream."""
    return _MAGIC.match(head) is not None


def is_tar(head: bytes) -> bool:
    """Say whether a file that begins so is the tar of PyTorch's first versions."""
    return head[257:262] == b"ustar" and head[:100].rstrip(b"\0") in _MEMBERS


# What trainers leave beside a model: its optimizer, random states, arguments.
_BESIDE = re.compile(
    r"((training_args|args|optim[a-z]*|lr_scheduler|scheduler|scaler|rng_state|random_states)"
    r"([_.-].*)?|.*_optim_states)\.(pt|pth|bin|ckpt)",
    re.IGNORECASE,
)


PT = Format(
    "pt",
    (".pt", ".pth", ".bin", ".ckpt"),
    recognised,
    lazily(f"{_PLACE}:locate"),
    lazily(f"{_PLACE}:copied"),
    magic=b"PK",
    anywhere=True,
    yields=True,
    is_beside=_BESIDE.fullmatch,
)
