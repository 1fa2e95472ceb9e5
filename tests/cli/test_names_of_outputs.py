"""What an output's name promises is what it holds, and a report goes where it is looked for."""

import json
from pathlib import Path

import pytest

import gradclip_cli
from gradclip_cli import GradclipError
from gradclip_cli.render.registry import RENDERERS
from tests.dumps import floats, write_safetensors
from tests.folders import array, names, untouched
from tests.running import gradclip, run_here


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work beside a dump of each format and a folder of two files."""
    monkeypatch.chdir(tmp_path)
    write_safetensors(tmp_path / "x.safetensors", {"a": floats("F32", (2,), [3.0, 4.0])})
    array(tmp_path / "x.npy")
    array(tmp_path / "in" / "a.npy")
    array(tmp_path / "in" / "b.npy")
    return tmp_path


@pytest.mark.parametrize(
    ("way", "problem", "hint"),
    [
        (
            "x.npy x.safetensors -o q.npy",
            "x.npy: an .npy file has one array, and there are 2 tensors",
            "write .npz or .safetensors",
        ),
        (
            "x.safetensors --json",
            "--json: the clipped bytes would go to standard output, and the report to standard "
            "error",
            "name a file for the bytes with -o (-o - is standard output), or one for the report "
            "with --report FILE",
        ),
    ],
)
def test_a_name_that_promises_something_else_is_refused_with_a_way_out(
    way: str, problem: str, hint: str, here: Path
) -> None:
    with untouched(here):
        done = gradclip("apply", *way.split(), "--clip-norm=1", cwd=here)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.decode() == f"gradclip: {problem}\nhint: {hint}\n"


@pytest.mark.parametrize(
    "way",
    [
        "x.safetensors -o q.safetensors",
        "x.safetensors -o q.grads",
        "x.npy -o q",
        "x.npy -o q.step-20",
        "in -o q.json/",
        "in -o q.npy/",
        "in -o folder.npy",
        "x.npy -o folder.npy",
    ],
)
def test_any_other_name_will_do(way: str, here: Path) -> None:
    (here / "folder.npy").mkdir()
    gradclip_cli.apply(*way.split()[:-2], clip_norm=1.0, output=way.split()[-1])
    assert gradclip_cli.inspect(way.split()[-1]).global_norm == pytest.approx(1)


@pytest.mark.parametrize(
    ("way", "begin"),
    [
        ("x.safetensors -o q.npy", b"\x93NUMPY"),
        ("x.npy -o q.safetensors", b"8\0\0\0\0\0\0\0{"),
        ("in -o q.safetensors", b"p\0\0\0\0\0\0\0{"),
        ("x.npy x.safetensors -o q.npz", b"PK\3\4"),
        ("x.npy -o q.NPZ", b"PK\3\4"),
        ("x.npy -o q.SafeTensors", b"8\0\0\0\0\0\0\0{"),
    ],
)
def test_a_name_of_another_format_is_kept(way: str, begin: bytes, here: Path) -> None:
    done = gradclip("apply", *way.split(), "--clip-norm=1", cwd=here)
    assert done.returncode == 0
    name = way.split()[-1]
    assert (here / name).read_bytes()[: len(begin)] == begin
    assert gradclip_cli.inspect(name).global_norm == pytest.approx(1)


def test_a_suffix_may_have_capitals_wherever_it_is_read(here: Path) -> None:
    array(here / "from" / "w.npy").rename(here / "from" / "W.NPY")
    report = gradclip_cli.inspect("from")
    assert [row.name for row in report.rows] == ["W"]
    assert gradclip_cli.inspect("from/W.NPY").rows[0].name == "W"
    assert gradclip_cli.diff("from/W.NPY", "x.npy").rows[0].name is None


@pytest.mark.parametrize("source", ["x.npy", "x.safetensors"])
@pytest.mark.parametrize(
    ("ending", "more"),
    [
        (".npz.gz", ", and pack it afterwards"),
        (".json", "; a report goes to --report q.json"),
        (".onnx", ""),
        (".h5", ""),
        (".PT", ""),
        (".safetensors.index.json", ""),
        (".png", ""),
    ],
)
def test_a_name_of_a_kind_that_is_not_written_is_refused(
    source: str, ending: str, more: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with untouched(here):
        said = run_here(capfd, "apply", source, "--clip-norm=1", "-o", f"q{ending}")
    own = source.removeprefix("x")
    others = [one for one in (".npy", ".npz", ".safetensors") if one != own]
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith(f"gradclip: q{ending}: is named as a .")
    assert said.err.endswith(
        f" file, and what is written stays {own[1:]}\n"
        f"hint: let the name end in {own}, {' or '.join(others)}{more}\n"
    )


def test_the_same_stands_of_a_pipe(here: Path) -> None:
    data = (here / "x.safetensors").read_bytes()
    done = gradclip("apply", "--clip-norm=1", "-o", "q.npy", stdin=data, cwd=here)
    assert done.returncode == 0
    assert (here / "q.npy").read_bytes().startswith(b"\x93NUMPY")


@pytest.mark.parametrize("more", [("-o-",), ("--report", "r.json"), ("-q",), ("--dry-run",)])
def test_json_beside_bytes_is_taken_where_it_is_clear_what_goes_where(
    more: tuple[str, ...], here: Path
) -> None:
    done = gradclip("apply", "x.safetensors", "--clip-norm=1", "--json", *more, cwd=here)
    assert done.returncode == 0
    if "--dry-run" in more:
        assert json.loads(done.stdout)["norm_after"] == pytest.approx(1)
    else:
        assert done.stdout.startswith((here / "x.safetensors").read_bytes()[:8])


@pytest.mark.parametrize("form", RENDERERS)
def test_the_ending_of_a_report_names_its_format(
    form: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("apply", "x.npy", "--clip-norm=1", "--dry-run")
    assert run_here(capfd, *given, "--report", f"r.{form}").status == 0
    said = run_here(capfd, *given, "--format", form)
    assert (here / f"r.{form}").read_bytes().decode() == said.out
    assert run_here(capfd, *given, "--report", f"s.{form}", "--format", "md").status == 0
    assert (here / f"s.{form}").read_text().startswith("| row |"), "what is given wins"


@pytest.mark.parametrize("name", ["report", "report.txt", ".json"])
def test_without_such_an_ending_it_is_tsv(
    name: str, here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    said = run_here(capfd, "apply", "x.npy", "--clip-norm=1", "-o", "q.npy", "--report", name)
    assert said.status == 0
    assert (here / name).read_text().startswith("row\t")
    assert names(here) >= {name, "q.npy"}


def test_a_dash_is_standard_output_or_refused_and_never_a_file(
    here: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    apply = ("apply", "x.npy", "--clip-norm=1", "--report", "-", "-q", "--format=json")
    said = run_here(capfd, *apply, "-o", "q.npy")
    assert (json.loads(said.out)["norm_before"], said.err) == (5, "")
    assert json.loads(run_here(capfd, *apply, "-o-", "--dry-run").out)["outputs"] == ["-"]
    said = run_here(capfd, *apply, "-o-")
    assert (said.status, said.out) == (2, "")
    assert said.err.startswith("gradclip: --report: the clipped bytes go to standard output\n")
    for option in ("--cache", "--plot"):
        assert run_here(capfd, "trend", "x.npy", option, "-").status == 2
    with pytest.raises(GradclipError, match="output: - is no file"):
        gradclip_cli.apply("x.npy", clip_norm=1, output="-")
    assert "-" not in names(here)
