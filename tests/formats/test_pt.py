"""Files of torch.save, read without torch: every container, every kind of view, nothing is run."""

import io
import os
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradclip_cli
from gradclip_cli import GradclipError
from tests.folders import untouched
from tests.pts import (
    Call,
    Global,
    Persistent,
    Raw,
    Stored,
    archive,
    opcodes,
    pickled,
    stream,
    tar,
    tensor,
)
from tests.running import gradclip, measured, norms, real

KINDS: dict[str, Callable[..., bytes]] = {"archive": archive, "stream": stream}
SQUARE = np.arange(1, 13, dtype="<f4").reshape(3, 4)


def save(root: Any, *storages: Stored, path: str = "x.pt", kind: str = "archive") -> str:
    """Write a file."""
    Path(path).write_bytes(KINDS[kind](root, storages))
    return path


VIEWS = {
    "whole": (0, (3, 4), (4, 1)),
    "transposed": (0, (4, 3), (1, 4)),
    "every second column": (1, (3, 2), (4, 2)),
    "the last row": (8, (4,), (1,)),
    "one value": (5, (), ()),
    "none": (12, (0, 4), (4, 1)),
    "expanded": (2, (5,), (0,)),
    "turned in three": (0, (2, 3, 2), (1, 4, 2)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_a_view_is_what_its_strides_say(
    view: tuple[int, tuple[int, ...], tuple[int, ...]], kind: str, here: Path
) -> None:
    offset, shape, strides = view
    stored = Stored.of("0", SQUARE)
    path = save({"v": stored.view(*view)}, stored, kind=kind)
    steps = tuple(4 * stride for stride in strides)
    expected = np.ndarray(shape, "<f4", SQUARE.tobytes(), 4 * offset, steps)
    report = gradclip_cli.inspect(path)
    (row,) = report.tensors
    assert (row.shape, row.count) == (shape, expected.size)
    assert row.norm == pytest.approx(float(np.linalg.norm(expected.astype("f8"))), rel=1e-15)
    if expected.size:
        assert row.max_abs_index == tuple(map(int, np.unravel_index(expected.argmax(), shape)))
    limit = report.global_norm / 2 or 1.0
    gradclip_cli.apply(path, clip_norm=limit, output="out.pt")
    clipped = SQUARE.copy()
    np.ndarray(shape, "<f4", clipped.data, 4 * offset, steps)[...] = expected * np.float32(0.5)
    before, after = Path(path).read_bytes(), Path("out.pt").read_bytes()
    at = before.index(SQUARE.tobytes())
    assert after[at : at + 48] == clipped.tobytes()
    if kind == "archive":
        with zipfile.ZipFile("out.pt") as file:
            assert file.testzip() is None
    else:
        assert after[:at] + after[at + 48 :] == before[:at] + before[at + 48 :]
    gradclip_cli.apply(path, clip_norm=1e9, output="same.pt")
    assert Path("same.pt").read_bytes() == before


def test_a_pipe_goes_through_and_keeps_its_kind(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    root = {"a": stored.view(0, (2, 2), (4, 1)), "b": stored.view(2, (2, 2), (4, 1))}
    for make in KINDS.values():
        done = gradclip("apply", "--clip-norm", "1", stdin=make(root, [stored]))
        assert done.returncode == 0, done.stderr
        Path("out.pt").write_bytes(done.stdout)
        assert gradclip_cli.inspect("out.pt").global_norm == pytest.approx(1)
        assert gradclip_cli.check("out.pt").sound


@pytest.mark.parametrize("order", [None, "little", "big"])
def test_a_missing_byte_order_means_little(order: str | None, here: Path) -> None:
    values = SQUARE.astype(">f4") if order == "big" else SQUARE
    stored = Stored("0", "FloatStorage", values.tobytes(), 12)
    half = np.array([1.0, 2.0, 4.0], ">f4" if order == "big" else "<f4").view("u1").reshape(3, 4)
    words = half[:, :2] if order == "big" else half[:, 2:]
    bf = Stored("1", "BFloat16Storage", words.tobytes(), 3)
    root = {"a": stored.view(0, (3, 4), (4, 1)), "h": bf.view(0, (3,), (1,))}
    Path("x.pt").write_bytes(archive(root, [stored, bf], order))
    expected = float(np.linalg.norm(SQUARE.astype("f8")))
    assert norms("x.pt") == {"a": pytest.approx(expected), "h": pytest.approx(21**0.5)}
    gradclip_cli.apply("x.pt", clip_norm=1.0, output="out.pt")
    assert gradclip_cli.inspect("out.pt").global_norm == pytest.approx(1, rel=1e-3)
    gradclip_cli.apply("x.pt", clip_norm=1.0, output="out.safetensors")
    assert gradclip_cli.inspect("out.safetensors").global_norm == pytest.approx(1, rel=1e-3)


def test_the_oldest_tar_is_read_and_written_as_safetensors(here: Path) -> None:
    stored = Stored.of("7", SQUARE)
    places = {"a": ("7", (0, (3, 4), (4, 1))), "t": ("7", (1, (2, 2), (1, 4)))}
    Path("x.pt").write_bytes(tar([stored], places))
    some = SQUARE.ravel()[[1, 5, 2, 6]].astype("f8")
    assert norms("x.pt") == {
        "a": pytest.approx(float(np.linalg.norm(SQUARE.astype("f8")))),
        "t": pytest.approx(float(np.linalg.norm(some))),
    }
    with untouched(here), pytest.raises(GradclipError, match="a tar of PyTorch's first versions"):
        gradclip_cli.apply("x.pt", clip_norm=1.0, output="y.pt")
    gradclip_cli.apply("x.pt", clip_norm=1.0, output="y.safetensors")
    assert gradclip_cli.inspect("y.safetensors").global_norm == pytest.approx(1)
    done = gradclip("apply", "--clip-norm", "1", stdin=Path("x.pt").read_bytes())
    assert done.stdout[8:9] == b"{"


# Names, and what counts


def one(key: str, value: float) -> tuple[Stored, Call]:
    """Give a tensor of one value."""
    return tensor(key, np.array([value], "<f4"))


def test_containers_are_flattened_with_dots(here: Path) -> None:
    (s, a), (t, b) = one("0", 3), one("1", 4)
    save({"layers": [{"w": a}, (b,)], "step": 7, "name": "x"}, s, t)
    report = gradclip_cli.apply("x.pt", clip_norm=1.0, output="x.npz")
    assert norms("x.pt") == {"layers.0.w": 3, "layers.1.0": 4}
    assert "not carried over: 2 values that are no tensors" in report.notes


def test_a_bare_tensor_is_named_after_its_file(here: Path) -> None:
    stored, bare = one("0", 3)
    save(bare, stored, path="layers.0.w.pt")
    assert norms("layers.0.w.pt") == {"layers.0.w": 3}


def test_gradients_beside_parameters_are_what_counts(here: Path) -> None:
    (s, g), (t, p) = one("0", 3), one("1", 400)
    for root in (
        {"w": {"param": p, "grad": g}},
        {"w": p, "w.grad": g},
    ):
        save(root, s, t)
        report = gradclip_cli.inspect("x.pt")
        assert {row.name: row.norm for row in report.tensors} == {"w": 3}
        assert any("parameters beside gradients" in note for note in report.notes)
    save({"model": {"w": p}, "grads": {"w": g}}, s, t)
    assert norms("x.pt") == {"grads.w": 3}


def test_what_trainers_keep_besides_is_named_and_not_counted(here: Path) -> None:
    (s, g), (t, m) = one("0", 3), one("1", 400)
    state = {"state": {0: {"exp_avg": m, "step": m}}, "param_groups": [{"lr": 0.1}]}
    save({"w": g, "optimizer": {"m": m}, "rng_state": m, "args": {"x": m}, "opt": state}, s, t)
    report = gradclip_cli.inspect("x.pt")
    assert {row.name for row in report.tensors} == {"w"}
    said = " ".join(report.notes)
    for words in ("state of an optimizer: optimizer.m", "random generator: rng_state"):
        assert words in said
    assert "arguments: args.x" in said
    assert "opt.state.0.exp_avg" in said


def test_a_parameter_may_be_called_as_what_trainers_keep(here: Path) -> None:
    (s, g), (t, m) = one("0", 3), one("1", 4)
    save({"scaler": g, "model": {"config": m}}, s, t)
    assert norms("x.pt") == {"scaler": 3, "model.config": 4}


def test_a_dict_in_two_places_is_looked_at_in_both(here: Path) -> None:
    stored, g = one("0", 3)
    shared = Raw(opcodes({"w": g}) + b"q\x07")
    save({"config": shared, "grads": Raw(b"h\x07")}, stored)
    report = gradclip_cli.inspect("x.pt")
    assert {row.name: row.norm for row in report.tensors} == {"grads.w": 3}
    assert any("arguments: config.w" in note for note in report.notes)
    save({"a": shared, "b": Raw(b"h\x07")}, stored)
    assert any("another name: b.w" in note for note in gradclip_cli.inspect("x.pt").notes)
    save({"a": Raw(opcodes([g]) + b"q\x07h\x07a")}, stored)  # a list within itself
    assert norms("x.pt") == {"a.0": 3}


def test_a_storage_that_stands_by_itself_counts(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    save({"s": stored.view(0, (3, 4), (4, 1)).arguments[0], "n": 1}, stored)
    assert norms("x.pt") == {"s": float(np.linalg.norm(SQUARE.astype("f8")))}


def test_what_lies_too_deep_or_repeats_without_end_is_refused_by_name(here: Path) -> None:
    stored, g = one("0", 3)
    deep: Any = g
    for _ in range(202):
        deep = {"d": deep}
    save(deep, stored)
    with pytest.raises(GradclipError, match="in more than 200 dicts and lists"):
        gradclip_cli.inspect("x.pt")
    twice = b"]q\0" + b"".join(b"0](" + b"h\0" * 10 + b"eq\0" for _ in range(100))
    Path("x.pt").write_bytes(archive({"bomb": Raw(twice)}, ()))
    with pytest.raises(GradclipError, match="stand in each other without end"):
        gradclip_cli.inspect("x.pt")


def test_one_view_under_two_names_counts_once_and_is_said(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    whole, row = stored.view(0, (3, 4), (4, 1)), stored.view(0, (4,), (1,))
    save({"embed": whole, "head": whole, "row": row}, stored)
    report = gradclip_cli.inspect("x.pt")
    assert {one.name for one in report.tensors} == {"embed", "row"}
    assert "1 tensor not counted, the same values under another name: head" in report.notes


def test_views_that_overlap_are_clipped_once_and_refused_where_they_differ(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    root = {"a": stored.view(0, (3, 4), (4, 1)), "b": stored.view(4, (4,), (1,))}
    save(root, stored)
    report = gradclip_cli.apply("x.pt", clip_norm=1.0, output="out.pt")
    assert report.clipped is not None
    at = Path("x.pt").read_bytes().index(SQUARE.tobytes())
    found = np.frombuffer(Path("out.pt").read_bytes()[at : at + 48], "<f4")
    expected = (SQUARE.astype("f8") * report.clipped.coefficient).astype("f4").ravel()
    assert np.array_equal(found, expected)
    for way in ({"per_tensor": True}, {"exclude": ["b"]}):
        with untouched(here), pytest.raises(GradclipError, match="'a' and 'b' share values"):
            gradclip_cli.apply("x.pt", clip_norm=1.0, output="new.pt", **way)


def test_what_does_not_count_never_becomes_another(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    whole, part = stored.view(0, (3, 4), (4, 1)), stored.view(3, (2,), (1,))
    for root in (
        {"w": whole, "w.grad": whole},
        {"grads": {"w": whole}, "optimizer": {"m": part}},
    ):
        save(root, stored)
        with untouched(here), pytest.raises(GradclipError, match="share values, and would become"):
            gradclip_cli.apply("x.pt", clip_norm=1.0, output="new.pt")
        gradclip_cli.apply("x.pt", clip_norm=1e9, output="same.pt")
        assert Path("same.pt").read_bytes() == Path("x.pt").read_bytes()
        Path("same.pt").unlink()


def test_a_value_that_stands_twice_in_a_view_is_not_clipped_in_two_ways(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    save({"w": stored.view(0, (4, 4), (1, 1))}, stored)
    with untouched(here), pytest.raises(GradclipError, match="stand several times in 'w'"):
        gradclip_cli.apply("x.pt", clip_norm=1.0, per_tensor=True, axes=[1], output="new.pt")
    gradclip_cli.apply("x.pt", clip_norm=1.0, output="new.pt")
    assert norms("new.pt") == {"w": pytest.approx(1)}


def test_views_between_each_other_do_not_overlap(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    root = {"a": stored.view(0, (3, 2), (4, 2)), "b": stored.view(1, (3, 2), (4, 2))}
    save(root, stored)
    gradclip_cli.apply("x.pt", clip_norm=1.0, per_tensor=True, output="out.pt")
    assert norms("out.pt") == {"a": pytest.approx(1), "b": pytest.approx(1)}


def test_two_names_that_become_one_are_refused(here: Path) -> None:
    (s, a), (t, b) = one("0", 3), one("1", 4)
    save({"x.y": a, "x": {"y": b}}, s, t)
    with pytest.raises(GradclipError, match=r"two tensors are called 'x\.y'"):
        gradclip_cli.inspect("x.pt")


# Folders


def test_beside_other_dumps_it_is_left_out_and_said(here: Path) -> None:
    stored, big = one("0", 400)
    Path("in/global_step5").mkdir(parents=True)
    np.save("in/w.npy", np.array([3.0], "f4"))
    for name in ("training_args.bin", "model.pt", "global_step5/states.pt"):
        save({"m": big}, stored, path=f"in/{name}")
    report = gradclip_cli.inspect("in")
    assert report.global_norm == 3
    assert any("3 files not counted, beside the dump" in note for note in report.notes)
    assert gradclip_cli.inspect("in", "in/model.pt").global_norm == pytest.approx(160009**0.5)


def test_a_folder_of_nothing_else_is_read_but_for_what_trainers_keep(here: Path) -> None:
    (s, a), (t, b) = one("0", 3), one("1", 4)
    Path("in").mkdir()
    save({"a": a}, s, path="in/rank0.pt")
    save({"b": b}, t, path="in/rank1.pt")
    Path("in/training_args.bin").write_bytes(pickle.dumps(Path))
    save({"m": b}, t, path="in/optimizer.pt")
    save({"m": b}, t, path="in/Optimizer.PT")
    assert gradclip_cli.inspect("in").global_norm == 5
    Path("only").mkdir()
    save({"m": b}, t, path="only/optimizer.pt")
    with pytest.raises(GradclipError, match="without dumps"):
        gradclip_cli.inspect("only")


# What is damaged, or meant to harm


EVIL = {
    "os.system": (Call(Global("os", "system"), ("touch harmed",)), "'os.system'"),
    "posix.system": (Call(Global("posix", "system"), ("touch harmed",)), "'posix.system'"),
    "eval": (Call(Global("builtins", "eval"), ("1",)), "'builtins.eval'"),
    "getattr": (Call(Global("builtins", "getattr"), (Global("os", "x"), "y")), "getattr"),
    "a global that is only named": (Global("subprocess", "Popen"), "'subprocess.Popen'"),
    "a nested global": (Call(Global("torch._utils", "x"), ()), "'torch._utils.x'"),
    "bytes that are pickles": (
        Call(Global("torch.storage", "_load_from_bytes"), (Raw(b"C\x01."),)),
        "_load_from_bytes",
    ),
    "a new object": (Raw(opcodes(Global("os", "_wrap_close")) + b")\x81"), "_wrap_close"),
    "a state": (Raw(opcodes([1]) + opcodes({"a": 1}) + b"b"), "gives a state"),
    "a stack global": (Raw(b"\x8c\x02os\x8c\x06system\x93"), "'os.system'"),
    "an instance": (Raw(b"(ios\nsystem\n"), "opcode"),
    "an extension": (Raw(b"\x82\x01"), "opcode"),
    "a buffer": (Raw(b"\x97"), "opcode"),
    "a persistent id that is no storage": (Persistent("x"), "no storage"),
    "a whole module": (Persistent(("module", Global("torch", "Size"), "f", "src")), "module"),
    "a quantized tensor": (Call(Global("torch._utils", "_rebuild_qtensor"), ()), "quantized"),
    "a sparse tensor": (Call(Global("torch._utils", "_rebuild_sparse_tensor"), ()), "sparse"),
    "a distributed tensor": (Global("torch.distributed.tensor", "DTensor"), "DTensor"),
    "a call of a number": (Raw(opcodes(7) + b")R"), "no function"),
    "a call without arguments": (Raw(opcodes(Global("torch", "Size")) + b"NR"), "arguments"),
    "a list as a key": (Raw(b"}" + opcodes([]) + b"Ns"), "neither text nor a number"),
    "nested keys": (Raw(b"}" + b")" + b"\x85" * 100_000 + b"Ns"), "neither text nor a number"),
    "memory that is not there": (Raw(b"h\x07"), "not kept"),
    "a huge number": (Raw(b"\x8b\xff\xff\xff\x7f"), "bytes in one piece"),
    "a negative length": (Raw(b"\x8b\xff\xff\xff\xff"), "bytes in one piece"),
    "a huge text": (Raw(b"X\xff\xff\xff\xff"), "bytes in one piece"),
    "text that is none": (Raw(b"\x8c\x02\xff\xfe"), "damaged"),
    "no mark": (Raw(b"Nt"), "no mark"),
    "nothing to take": (Raw(b"Na0000000000"), "fills what is no list"),
    "a set of a value": (Raw(b"NNNs"), "fills what is no dict"),
    "a frame of another length": (Raw(b"\x95" + bytes([200]) + bytes(7)), "cut short"),
    "a protocol that there is not": (Raw(b"\x80\x09"), "protocol 9"),
}


@pytest.mark.alike(2)
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize(("root", "words"), EVIL.values(), ids=EVIL.keys())
def test_nothing_is_run_and_what_is_refused_is_named(
    root: Any, words: str, make: Callable[..., bytes], here: Path
) -> None:
    Path("x.pt").write_bytes(make({"a": root}, ()))
    with untouched(here), pytest.raises(GradclipError) as caught:
        gradclip_cli.inspect("x.pt")
    assert words in caught.value.problem
    assert caught.value.hint
    assert not gradclip_cli.check("x.pt").sound


BOMBS = {
    "nested lists": b"]" * 1_000_000 + b"a" * 999_999,
    "nested tuples": b")" + b"\x85" * 1_000_000,
    "lists of ten of the one before": b"]q\0"
    + b"0]("
    + (b"h\0" * 10)
    + b"eq\0" * 1
    + b"".join(b"0](" + b"h\0" * 10 + b"eq\0" for _ in range(200)),
    "marks": b"(" * 1_000_000 + b"N",
    "kept again and again": b"N" + b"\x94" * 1_000_000,
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS.keys())
def test_a_bomb_takes_little(bomb: bytes, here: Path) -> None:
    Path("x.pt").write_bytes(archive(Raw(bomb), ()))
    start = time.process_time()
    status, said, size = measured([*map(str, ["inspect", "x.pt"])])
    assert status in (0, 2), said
    assert size < 700
    assert time.process_time() - start < 20


LIES = {
    "beyond the storage": (0, (3, 5), (4, 1)),
    "an offset beyond": (13, (1,), (1,)),
    "a stride beyond": (0, (2,), (12,)),
    "more than memory": (0, (1 << 40, 1 << 40), (0, 0)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("view", LIES.values(), ids=LIES.keys())
def test_a_view_beyond_its_storage_is_refused_by_name(view: Any, kind: str, here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    save({"w": stored.view(*view)}, stored, kind=kind)
    with pytest.raises(GradclipError, match="'w' lies beyond its storage"):
        gradclip_cli.inspect("x.pt")


@pytest.mark.parametrize("key", ["neg", "conj"])
def test_a_tensor_of_other_values_than_its_storage_is_refused(key: str, here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    view = stored.view(0, (3, 4), (4, 1))
    what = Global("torch._utils", "_rebuild_tensor_v2")
    save({"w": Call(what, (*view.arguments[:4], False, {}, {key: True}))}, stored)
    with pytest.raises(GradclipError, match=f"a lazily {key}.* tensor is not read"):
        gradclip_cli.inspect("x.pt")
    save({"w": Call(what, (*view.arguments[:4], False, {}, {key: False}))}, stored)
    assert norms("x.pt") == {"w": float(np.linalg.norm(SQUARE.astype("f8")))}


def test_a_view_that_repeats_without_end_is_refused_by_name(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    save({"w": stored.view(0, (1 << 50,), (0,))}, stored)
    with pytest.raises(GradclipError, match="'w' repeats 48 bytes to"):
        gradclip_cli.inspect("x.pt")
    save({f"w{n}": stored.view(0, ((1 << 25) - n,), (0,)) for n in range(40)}, stored)
    with pytest.raises(GradclipError, match=r"its tensors repeat [0-9,]+ bytes to"):
        gradclip_cli.inspect("x.pt")
    save({"w": stored.view(0, (1 << 20, 12), (0, 1))}, stored)
    expected = float(np.linalg.norm(SQUARE.astype("f8"))) * 1024
    assert gradclip_cli.inspect("x.pt").global_norm == pytest.approx(expected)


def test_a_storage_that_is_missing_or_short_is_refused_by_name(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    root = {"w": stored.view(0, (3, 4), (4, 1))}
    for some in ([], [Stored("0", "FloatStorage", bytes(40), 10)]):
        Path("x.pt").write_bytes(archive(root, some))
        with pytest.raises(GradclipError, match="'w': its storage"):
            gradclip_cli.inspect("x.pt")


def test_every_cut_is_refused(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    root = {"w": stored.view(0, (3, 4), (4, 1))}
    for whole in (archive(root, [stored]), stream(root, [stored]), tar([stored], {})):
        for size in range(0, len(whole), 7 if whole[257:262] != b"ustar" else 509):
            Path("x.pt").write_bytes(whole[:size])
            try:
                gradclip_cli.inspect("x.pt")
            except GradclipError as error:
                assert error.hint  # noqa: PT017
            else:
                assert whole[257:262] == b"ustar", size


def test_inspect_does_not_verify_and_check_and_apply_do(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    raw = bytearray(archive({"w": stored.view(0, (3, 4), (4, 1))}, [stored]))
    raw[raw.index(SQUARE.tobytes()) + 2] ^= 1
    Path("x.pt").write_bytes(raw)
    assert gradclip_cli.inspect("x.pt").global_norm > 0
    assert not gradclip_cli.check("x.pt").sound
    with untouched(here), pytest.raises(GradclipError, match="the checksum of archive/data/0"):
        gradclip_cli.apply("x.pt", clip_norm=1.0, output="y.pt")


def test_without_checksums_a_file_is_sound_and_stays_without(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    raw = bytearray(archive({"w": stored.view(0, (3, 4), (4, 1))}, [stored]))
    at = 0
    for signature, place in ((b"PK\1\2", 16), (b"PK\3\4", 14)):
        at = -1
        while (at := raw.find(signature, at + 1)) >= 0:
            raw[at + place : at + place + 4] = bytes(4)
    Path("x.pt").write_bytes(raw)
    assert gradclip_cli.check("x.pt").sound
    gradclip_cli.apply("x.pt", clip_norm=1.0, output="y.pt")
    assert gradclip_cli.inspect("y.pt").global_norm == pytest.approx(1)
    assert gradclip_cli.check("y.pt").sound
    with zipfile.ZipFile("y.pt") as file:
        assert {one.CRC for one in file.infolist()} == {0}


def with_records(raw: bytes, *records: tuple[str, bytes]) -> bytes:
    """Give an archive with other records, or more of them."""
    whole = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(raw)) as old, zipfile.ZipFile(whole, "w") as new:
        others = [name for name in old.namelist() if name not in dict(records)]
        for name, data in (*((name, old.read(name)) for name in others), *records):
            new.writestr(zipfile.ZipInfo(name), data)
    return whole.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_is_held_to_what_torch_reads(here: Path) -> None:
    stored = Stored.of("0", SQUARE)
    raw = archive({"w": stored.view(0, (3, 4), (4, 1))}, [stored])
    twice = ("archive/data/0", stored.data), ("archive/data/0", bytes(48))
    pickle_ = zipfile.ZipFile(io.BytesIO(raw)).read("archive/data.pkl")
    for records, words in (
        (twice, "two members are called 'archive/data/0'"),
        ([("archive/version", b"99\n")], "version is '99'"),
        ([("archive/version", b"three\n")], "version is 'three'"),
        ([("archive/data.pkl", pickle_ + b"more")], "4 bytes follow the pickle"),
    ):
        Path("x.pt").write_bytes(with_records(raw, *records))
        (found,) = gradclip_cli.check("x.pt").files
        assert words in f"{found.problem}{found.strays}", found
    assert norms("x.pt") == {"w": float(np.linalg.norm(SQUARE.astype("f8")))}


def test_bytes_are_plain_values_by_every_protocol(here: Path) -> None:
    stored, g = one("0", 3)
    latin = Call(Global("_codecs", "encode"), ("caf\xe9", "latin1"))
    empty = Call(Global("__builtin__", "bytes"), ())
    save({"w": g, "version": latin, "none": empty}, stored)
    report = gradclip_cli.inspect("x.pt")
    assert {row.name: row.norm for row in report.tensors} == {"w": 3}
    save({"w": Call(Global("_codecs", "encode"), ("x", "rot13"))}, stored)
    with pytest.raises(GradclipError, match="what it does not take"):
        gradclip_cli.inspect("x.pt")


def test_what_is_no_file_of_torch_says_what_it_is(here: Path) -> None:
    os.mkfifo("pipe")
    for raw, words in (
        (pickle.dumps({"a": 1}), "a Python pickle, which can run code and is never opened"),
        (b"", "empty: 0 bytes"),
        (b"nothing", "no file of torch.save"),
        (archive({}, (), name="x").replace(b"data.pkl", b"dada.pkl"), "no pickle"),
        (pickled(7), "a Python pickle"),
        (struct.pack("<Q", 5), "no file of torch.save"),
    ):
        Path("x.pt").write_bytes(raw)
        said = real("inspect", "x.pt")
        assert said.status == 2
        assert words in said.err
