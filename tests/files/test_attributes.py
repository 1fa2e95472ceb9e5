"""What a file is besides its bytes is kept, or named as lost; and nobody may more than before.

Each test is done with real files, and skipped where the file system has no attributes.
"""

import errno
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import gradclip_cli
from tests.dumps import write_safetensors
from tests.folders import array
from tests.running import ordinary_user, real

LIST = "system.posix_acl_access"
DEFAULT = "system.posix_acl_default"
OWNER, USER, OWN_GROUP, MASK, OTHER = 1, 2, 4, 16, 32
NOBODY = 0xFFFFFFFF
BOB = 4321


def access(bob: int, group: int, other: int) -> bytes:
    """Give an access list as the kernel has it, see acl(5): what the owner's mask allows is 6."""
    entries = (
        (OWNER, 6, NOBODY),
        (USER, bob, BOB),
        (OWN_GROUP, group, NOBODY),
        (MASK, 6, NOBODY),
        (OTHER, other, NOBODY),
    )
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


BOB_MAY = access(bob=6, group=0, other=0)
BOB_MAY_NOT = access(bob=0, group=4, other=4)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work beside a file of norm 5, where files can have attributes."""
    monkeypatch.chdir(tmp_path)
    array(tmp_path / "x.npy").chmod(0o640)
    if not hasattr(os, "setxattr"):
        pytest.skip("Python has no call for attributes here")
    mark("x.npy", "user.note", b"of mine\0\xff")
    return tmp_path


def mark(path: str, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"no {name} here: {error.strerror}")


def marks(path: str) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path)}


Way = dict[str, object]
WAYS: dict[str, Way] = {
    "in place": {"in_place": True},
    "kept": {"in_place": True, "backup": ".orig"},
    "over": {"output": "x.npy", "force": True},
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_attributes_and_access_lists_are_kept(way: Way, here: Path) -> None:
    mark("x.npy", LIST, BOB_MAY)
    before, mode = marks("x.npy"), os.stat("x.npy").st_mode
    array(here / "other.npy", 6.0, 8.0)
    source = "x.npy" if "in_place" in way else "other.npy"
    report = gradclip_cli.apply(source, clip_norm=1.0, **way)  # type: ignore[arg-type]
    assert gradclip_cli.inspect("x.npy").global_norm == pytest.approx(1.0)
    assert marks("x.npy") == before
    assert os.stat("x.npy").st_mode == mode
    assert [note for note in report.notes if "kept" in note] == []


def test_a_backup_that_is_a_copy_keeps_them_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark("x.npy", LIST, BOB_MAY)
    before, status = marks("x.npy"), os.stat("x.npy")
    real = os.link

    def linkless(old: str, new: str) -> None:
        if new.endswith(".orig") and "/x.npy" in old:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        real(old, new)

    monkeypatch.setattr(os, "link", linkless)
    gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True, backup=".orig")
    kept = os.stat("x.npy.orig")
    assert kept.st_ino != status.st_ino
    assert marks("x.npy.orig") == marks("x.npy") == before
    assert (kept.st_mode, kept.st_mtime_ns) == (status.st_mode, status.st_mtime_ns)


def test_what_a_folder_gives_to_new_files_is_no_right_of_the_old_one(here: Path) -> None:
    mark(".", DEFAULT, BOB_MAY)
    gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True)
    assert marks("x.npy") == {"user.note": b"of mine\0\xff"}
    assert stat.S_IMODE(os.stat("x.npy").st_mode) == 0o640


def refusing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let no file have an attribute any more."""
    real = os.setxattr

    def refused(path: int, attribute: str, value: bytes) -> None:
        if attribute.startswith(name):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        real(path, attribute, value)

    monkeypatch.setattr(os, "setxattr", refused)


def test_nothing_is_said_of_a_file_that_stays(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array(here / "y.npy", 0.0)
    mark("y.npy", "user.other", b"")
    refusing(monkeypatch, "user.")
    report = gradclip_cli.apply("x.npy", "y.npy", clip_norm=1.0, in_place=True)
    assert [note for note in report.notes if "kept" in note] == [
        "user.note could not be kept: x.npy"
    ]


def test_a_label_that_all_files_have_is_not_said_to_be_lost(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, given = os.listxattr, os.getxattr
    label = "security.selinux"
    monkeypatch.setattr(os, "listxattr", lambda path: [*listed(path), label])
    monkeypatch.setattr(
        os, "getxattr", lambda file, name: b"nfs_t" if name == label else given(file, name)
    )
    refusing(monkeypatch, label)
    report = gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True)
    assert [note for note in report.notes if "kept" in note] == []


def test_nobody_can_open_what_is_staged_before_it_has_its_rights(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array(here / "y.npy")
    seen: list[int] = []
    real = os.fchmod

    def noted(descriptor: int, mode: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", noted)
    gradclip_cli.apply("x.npy", "y.npy", clip_norm=1.0, in_place=True)
    assert seen == [0o600, 0o600]


def test_what_cannot_be_kept_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array(here / "y.npy")
    mark("y.npy", "user.note", b"")
    refusing(monkeypatch, "user.")
    report = gradclip_cli.apply("x.npy", "y.npy", clip_norm=1.0, in_place=True)
    assert report.notes[-1] == "user.note could not be kept: x.npy, y.npy"
    assert marks("x.npy") == {}


@pytest.mark.parametrize(
    ("listed", "mode"),
    [(BOB_MAY, 0o600), (BOB_MAY_NOT, 0o600), (access(bob=4, group=6, other=4), 0o644)],
    ids=["no group", "not bob", "all of them"],
)
def test_without_its_access_list_a_file_allows_nobody_more(
    listed: bytes, mode: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark("x.npy", LIST, listed)
    refusing(monkeypatch, "system.")
    report = gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True)
    assert f"{LIST} could not be kept: x.npy" in report.notes
    assert stat.S_IMODE(os.stat("x.npy").st_mode) == mode
    assert marks("x.npy") == {"user.note": b"of mine\0\xff"}


@pytest.mark.parametrize(
    ("refuses", "lost", "before", "mode"),
    [
        (lambda owner, _group: owner != -1, ["owner"], 0o664, 0o664),
        (lambda _owner, _group: True, ["owner", "group"], 0o664, 0o644),
        (lambda _owner, _group: True, ["owner", "group"], 0o604, 0o600),
    ],
    ids=["owner", "both", "a group that may less"],
)
def test_rights_of_a_group_are_not_given_to_another(
    refuses: Callable[[int, int], bool],
    lost: list[str],
    before: int,
    mode: int,
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown("x.npy", BOB, BOB)
    os.chmod("x.npy", before)
    real = os.fchown

    def chown(descriptor: int, owner: int, group: int) -> None:
        if refuses(owner, group):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        real(descriptor, owner, group)

    monkeypatch.setattr(os, "fchown", chown)
    report = gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True)
    assert [f"{what} could not be kept: x.npy" for what in lost] == [
        note for note in report.notes if "kept" in note
    ]
    status = os.stat("x.npy")
    assert stat.S_IMODE(status.st_mode) == mode
    assert (status.st_gid == BOB) == ("group" not in lost)


def test_what_is_said_of_the_old_bytes_is_named_and_not_said_of_the_new(here: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can say it")
    mark("x.npy", "security.capability", bytes.fromhex("0000000201000000") + bytes(12))
    report = gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True)
    assert "security.capability could not be kept: x.npy" in report.notes
    assert marks("x.npy") == {"user.note": b"of mine\0\xff"}


def test_a_new_file_has_nothing_of_another(here: Path) -> None:
    write_safetensors(here / "y.safetensors", {"a": ("F32", (2,), bytes(8))})
    mark("y.safetensors", "user.note", b"")
    report = gradclip_cli.apply("y.safetensors", clip_norm=1.0, output="new.safetensors")
    assert marks("new.safetensors") == {}
    assert [note for note in report.notes if "kept" in note] == []


def test_nor_by_its_access_list(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown("x.npy", -1, BOB)
    mark("x.npy", LIST, access(bob=6, group=2, other=4))

    def refused(*_: int) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refused)
    gradclip_cli.apply("x.npy", clip_norm=1.0, in_place=True)
    assert marks("x.npy")[LIST] == access(bob=6, group=0, other=0)


@pytest.mark.parametrize("names", [["a.npy"], ["a.npy", "b.npy"]])
def test_bits_that_writing_takes_away_are_given_back(names: list[str], tmp_path: Path) -> None:
    drop = ordinary_user()
    for name in names:
        np.save(tmp_path / name, np.ones(9 + len(name) + ord(name[0]), "f4"))
        (tmp_path / name).chmod(0o6755)
    tmp_path.chmod(0o777)
    done = real("apply", *names, "--clip-norm=1", "--in-place", "-q", before=drop, cwd=tmp_path)
    assert (done.status, done.err) == (0, "")
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names] == [
        0o6755 for _ in names
    ]
