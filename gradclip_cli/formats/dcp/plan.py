"""What the metadata of a distributed checkpoint says: a pickle of plain records; none is run.

The records are those of `torch/distributed/checkpoint/metadata.py` and `filesystem.py`.
"""

from typing import Any

from gradclip_cli.formats.pt.allowed import Allowed
from gradclip_cli.formats.pt.opcodes import Global, Key, PickleError

_METADATA = "torch.distributed.checkpoint.metadata"
_SHARDED = "torch.distributed._shard.sharded_tensor.metadata"
_RECORDS = {
    *(f"{_METADATA}.{name}" for name in ("Metadata", "TensorStorageMetadata", "StorageMeta")),
    *(f"{_METADATA}.{name}" for name in ("ChunkStorageMetadata", "MetadataIndex")),
    *(f"{_METADATA}.{name}" for name in ("BytesStorageMetadata", "TensorProperties")),
    *(f"{_METADATA}.{name}" for name in ("_MEM_FORMAT_ENCODING", "MEM_FORMAT_ENCODING")),
    *(f"{_SHARDED}.{name}" for name in ("TensorProperties", "MEM_FORMAT_ENCODING")),
    *(f"torch.distributed.checkpoint.filesystem.{name}" for name in ("_StorageInfo",)),
    *(f"pathlib.{name}" for name in ("PosixPath", "WindowsPath", "PurePosixPath", "Path")),
}


class Record(Key):
    """A record: the name of its class, and what it was given."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.state: Any = {}

    def get(self, name: str) -> Any:
        """Give a field; None where it has none."""
        return self.state.get(name) if isinstance(self.state, dict) else None


class Planned(Allowed):
    """Knows the records of a checkpoint besides tensors and plain containers."""

    def known(self, named: Global) -> Any:
        """Give a record's class itself."""
        return named if str(named) in _RECORDS else super().known(named)

    def called(self, what: Any, arguments: tuple[Any, ...]) -> Any:
        """Give an empty record."""
        if isinstance(what, Global) and str(what) in _RECORDS:
            return Record(what.name)
        return super().called(what, arguments)

    def built(self, what: Any, state: Any) -> Any:
        """Give a record its fields."""
        if not isinstance(what, Record):
            return super().built(what, state)
        what.state = state
        return what

    def persistent(self, said: Any) -> Any:
        """Refuse what is stored elsewhere: metadata holds no tensors."""
        raise PickleError("the metadata refers to something outside")
