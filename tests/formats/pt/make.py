"""Write the files of this folder with torch: `python tests/formats/pt/make.py`, torch 2.13.0."""

from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def values(torch: Any) -> dict[str, Any]:
    """Give tensors of every dtype that torch saves, and of every way in which they may lie."""
    torch.manual_seed(16)
    base = torch.randn(4, 6)
    floats = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
    narrow = ("float8_e4m3fnuz", "float8_e5m2fnuz")
    whole = ("uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64", "bool")
    return {
        **{name: torch.randn(3, 2).to(getattr(torch, name)) for name in (*floats, *narrow)},
        **{name: torch.ones(3).to(getattr(torch, name)) for name in whole},
        "complex64": torch.randn(2, dtype=torch.complex64),
        "complex128": torch.randn(2, dtype=torch.complex128),
        "parameter": torch.nn.Parameter(torch.randn(2)),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "base": base,
        "transposed": base.t(),
        "columns": base[:, ::2],
        "row": base[2],
        "channels": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "expanded": torch.randn(1).expand(4),
        "nested": {"deep": [torch.randn(2), {"er": torch.randn(3)}]},
        "tied": base,
        "step": 7,
    }


def main() -> None:
    """Write them."""
    import torch

    some = values(torch)
    torch.save(some, HERE / "archive.pt")
    torch.save(some, HERE / "protocol4.pt", pickle_protocol=4)
    torch.save(some, HERE / "stream.pt", _use_new_zipfile_serialization=False)
    torch.serialization.set_crc32_options(False)
    torch.save(some, HERE / "no_crc32.pt")
    torch.serialization.set_crc32_options(True)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(state, HERE / "checkpoint.pt")


if __name__ == "__main__":
    main()
