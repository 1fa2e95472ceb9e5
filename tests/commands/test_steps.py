"""Steps of a run are not one gradient: what names say, and who follows or refuses them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradclip_cli
from gradclip_cli.errors import GradclipError
from gradclip_cli.series.order import ordered
from tests.dumps import floats, write_safetensors
from tests.folders import array
from tests.readers import PARSED, strict
from tests.running import Run, in_shell, one_error

# As trainers name them: the paths of a run, and the steps that they are.
RUNS: Mapping[str, tuple[Sequence[str], Sequence[int | str]]] = {
    "hf": (
        [f"checkpoint-{step}/grads" for step in (500, 1000, 2500, 10000)],
        [500, 1000, 2500, 10000],
    ),
    "mixed": (
        [f"checkpoint-{step}/grads" for step in (500, 1000, 2500, 10000, "final")],
        [500, 1000, 2500, 10000, "checkpoint-final"],
    ),
    "deepspeed": (
        [f"global_step{step}/mp_rank_00_grads" for step in (500, 1000, 2500)],
        [500, 1000, 2500],
    ),
    "lerobot": (
        [f"{step}/grads" for step in ("100000", "0900000", "09000000")],
        [100000, 900000, 9000000],
    ),
    "lightning": (
        [f"epoch={epoch}-step={step}" for epoch, step in ((0, 40), (1, 80), (10, 160))],
        ["epoch=0-step=40", "epoch=1-step=80", "epoch=10-step=160"],
    ),
    "lightning_dirs": (
        [f"epoch={epoch}-step={step}/grads" for epoch, step in ((0, 40), (1, 80), (10, 160))],
        ["epoch=0-step=40", "epoch=1-step=80", "epoch=10-step=160"],
    ),
    "turned": (
        [f"step_{step}-epoch_{epoch}" for epoch, step in ((2, 9), (10, 3), (2, 10))],
        ["step_9-epoch_2", "step_10-epoch_2", "step_3-epoch_10"],
    ),
    "nested": (
        [f"epoch_{epoch}/step_{step}/grads" for epoch, step in ((0, 40), (1, 80), (10, 160))],
        ["epoch_0/step_40", "epoch_1/step_80", "epoch_10/step_160"],
    ),
    "isaac": (["model_2048000_steps", "model_1024000000_steps"], [2048000, 1024000000]),
    "twice": ([f"iter_{step:07d}/wgrads_{step}" for step in (5, 10, 20)], [5, 10, 20]),
    "deep": ([f"out/dumps/step-{step}/sub/grads" for step in (9, 10)], [9, 10]),
    "last": (["epoch_2", "epoch_10", "last"], [2, 10, "last"]),
    "epochs": (
        [f"epoch-{epoch}/iter_{step}" for epoch in (1, 2, 10) for step in (100, 200)],
        [f"epoch-{epoch}/iter_{step}" for epoch in (1, 2, 10) for step in (100, 200)],
    ),
    "tries": (
        [f"checkpoint-{step}-try2/grads" for step in (500, 1000, 1500, "final")],
        [500, 1000, 1500, "checkpoint-final-try2"],
    ),
    "dated": (["2026-01-05_step_15", "2026-01-06_step_16", "2026-02-01_step_9"], [9, 15, 16]),
    "updates": (["update-5/grads", "update-16/grads"], [5, 16]),
    "it": (["it5/grads", "it16/grads"], [5, 16]),
    "versions": (["v3-iter_7", "v3-iter_12-ema"], [7, 12]),
}
by_run = pytest.mark.parametrize("name", RUNS)


def _write(folder: Path, paths: Sequence[str]) -> None:
    for number, path in enumerate(paths):
        place = folder / f"{path}.safetensors"
        place.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(place, {"w": floats("F32", (1,), [number + 1.0])})


def _steps(text: str) -> list[str]:
    return [row["step"] for row in PARSED["tsv"](text)]


# trend


@pytest.mark.alike(3)
@by_run
def test_a_run_is_followed_by_its_folder(run: Run, tmp_path: Path, name: str) -> None:
    paths, steps = RUNS[name]
    _write(tmp_path / name, paths)
    said = run("trend", name, cwd=tmp_path)
    assert (said.status, said.err) == (0, "")
    assert _steps(said.out) == list(map(str, steps))


@by_run
def test_a_run_is_followed_by_patterns_at_any_depth(tmp_path: Path, name: str) -> None:
    paths, steps = RUNS[name]
    _write(tmp_path / name, paths)
    for depth in range(1, paths[0].count("/") + 2):
        pattern = "/".join([name, *"*" * depth])
        done = in_shell(f"gradclip trend {pattern}", tmp_path)
        assert (done.returncode, done.stderr) == (0, b""), pattern
        assert _steps(done.stdout.decode()) == list(map(str, steps)), pattern


def test_a_note_says_how_the_names_were_read(tmp_path: Path) -> None:
    _write(tmp_path, RUNS["mixed"][0])
    notes = gradclip_cli.trend(tmp_path).notes
    assert notes == (
        f"{tmp_path}: checkpoint-500 to checkpoint-final are steps 500 to checkpoint-final",
    )


def test_what_stands_beside_steps_is_no_step_unless_it_has_their_tensors(tmp_path: Path) -> None:
    _write(tmp_path, RUNS["hf"][0])
    array(tmp_path / "mask.npy")
    write_safetensors(tmp_path / "stats.safetensors", {"mean": floats("F32", (1,), [1.0])})
    trend = gradclip_cli.trend(tmp_path)
    assert [step.step for step in trend.steps] == RUNS["hf"][1]
    assert trend.notes[-1] == (
        f"2 paths ignored: {tmp_path}/mask.npy, {tmp_path}/stats.safetensors"
    )


def test_a_step_that_is_cut_off_stands_in_no_way(run: Run, tmp_path: Path) -> None:
    _write(tmp_path / "run", ["checkpoint-1", "checkpoint-2", "checkpoint-last"])
    array(tmp_path / "run" / "mask.npy")
    (tmp_path / "run" / "checkpoint-1.safetensors").write_bytes(b"\x40")
    said = run("trend", "run", "--json", cwd=tmp_path)
    document = strict(said.out)
    assert said.status == 2
    assert [row["step"] for row in document["steps"]] == [1, 2, "checkpoint-last"]
    assert [row["step"] for row in document["unreadable"]] == [1]
    assert document["notes"][-1] == "1 path ignored: run/mask.npy"


def test_folders_of_arrays_are_steps(run: Run, tmp_path: Path) -> None:
    for step in range(30):
        for part in ("w", "layers/0/w", "layers/1/w"):
            array(tmp_path / f"step_{step}" / f"{part}.npy", 3.0, 4.0)
    said = run("trend", tmp_path)
    assert _steps(said.out) == list(map(str, range(30)))
    assert {row["global_norm"] for row in PARSED["tsv"](said.out)} == {repr(75**0.5)}


@pytest.mark.parametrize(
    "pattern", ["ranks", "ranks/*", "ranks/*/*", "ranks/step_000009", "ranks/step_000009/*"]
)
def test_ranks_are_refused_and_never_read_as_steps(tmp_path: Path, pattern: str) -> None:
    _write(tmp_path / "ranks", [f"step_{n:06d}/rank{r}" for n in (10, 9, 100) for r in (0, 1)])
    done = in_shell(f"gradclip trend {pattern}", tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    said = one_error(done.stderr)
    assert "step_000009/rank0.safetensors" in said
    assert "step_000009/rank1.safetensors" in said
    assert "rank0 " in done.stderr.decode()
    done = in_shell("gradclip trend ranks/*/rank0.safetensors", tmp_path)
    assert _steps(done.stdout.decode()) == ["9", "10", "100"], "so the hint helps"


def test_two_runs_are_told_apart_or_refused(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b", "run1", "run2"):
        _write(tmp_path / name, ["step-1", "step-2"])
    said = run("trend", "a", "b", cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert one_error(said.err) == (
        "gradclip: b/step-1.safetensors: is step 1, as a/step-1.safetensors is"
    )
    said = run("trend", "run1", "run2", cwd=tmp_path)
    assert _steps(said.out) == ["run1/step-1", "run1/step-2", "run2/step-1", "run2/step-2"]
    _write(tmp_path / "b", ["step-8"])
    trend = gradclip_cli.trend(tmp_path / "a/step-1.safetensors", tmp_path / "b/step-8.safetensors")
    assert trend.notes == ("steps of 2 folders: a, b",)


@pytest.mark.parametrize("paths", [["step-9.npy", "step-009.npy"], ["a.npy", "a.npy"]])
def test_two_files_are_never_one_step(run: Run, tmp_path: Path, paths: list[str]) -> None:
    for path in paths:
        array(tmp_path / path)
    said = run("trend", *paths, cwd=tmp_path)
    assert (said.status, said.out) == (2, "")
    assert all(path in one_error(said.err) for path in paths)


def test_one_gradient_takes_a_folder_for_a_step(run: Run, tmp_path: Path) -> None:
    for step in range(2):
        array(tmp_path / "run" / f"step_{step}.npy", 3.0)
    said = run("trend", "run", "--one-gradient", cwd=tmp_path)
    assert [row["global_norm"] for row in PARSED["tsv"](said.out)] == [repr(18**0.5)]


@given(
    st.lists(st.integers(0, 10**17), min_size=2, max_size=9, unique=True),
    st.sampled_from(["ckpt-{}/g.npy", "iter_{:09d}/w_{}.npy", "a1/{}.npy", "x{}-final.npy"]),
)
def test_numbers_in_one_place_are_the_steps_in_order(numbers: list[int], form: str) -> None:
    paths = [form.format(number, number) for number in numbers]
    assert [operand.step for operand in ordered(paths)] == sorted(numbers)


# inspect and apply


@pytest.fixture(params=["inspect", "apply"])
def taken(request: pytest.FixtureRequest, run: Run, tmp_path: Path) -> Run:
    """Give what runs inspect or apply on operands."""
    more = [] if request.param == "inspect" else ["--clip-norm", "1", "-o", "out/"]
    return lambda *operands: run(request.param, *operands, *more, cwd=tmp_path)


@pytest.mark.alike(3)
@by_run
def test_steps_are_refused_and_trend_is_named(taken: Run, tmp_path: Path, name: str) -> None:
    paths, _ = RUNS[name]
    _write(tmp_path / name, paths)
    said = taken(name)
    assert said.status == 2
    assert " steps, " in one_error(said.err)
    assert one_error(said.err).endswith(", not one gradient")
    hint = said.err.splitlines()[1].removeprefix("hint: follow them: ")
    assert hint == f"gradclip trend {name}"
    assert in_shell(hint, tmp_path).returncode == 0, "so the hint helps"


@pytest.mark.parametrize("paths", [["step-{}/a", "step-{}/b"], ["step-{}"], ["{}/w"], ["{}"]])
def test_arrays_of_steps_are_refused_unless_they_are_said_to_be_one_gradient(
    taken: Run, tmp_path: Path, paths: list[str]
) -> None:
    for path in paths:
        for number in range(3):
            array(tmp_path / "run" / f"{path.format(number)}.npy")
    said = taken("run")
    assert said.status == 2
    assert said.err.splitlines()[1] == (
        "hint: follow them: gradclip trend run; --one-gradient takes them for one all the same"
    )
    assert taken("run", "--one-gradient").status == 0


def test_steps_named_one_by_one_are_refused(taken: Run, tmp_path: Path) -> None:
    for number in range(3):
        array(tmp_path / f"step-{number}.npy")
    said = taken(*(f"step-{number}.npy" for number in range(3)))
    assert said.status == 2
    assert one_error(said.err) == "gradclip: 3 steps, step-0.npy to step-2.npy, not one gradient"
    assert "give the same files to gradclip trend" in said.err
    assert in_shell("gradclip trend step-?.npy", tmp_path).returncode == 0, "so the hint helps"
    assert taken("step-1.npy").status == 0


@pytest.mark.parametrize(
    "names",
    [
        [f"layers_{n}" for n in range(4)],
        [f"layers/{n}" for n in range(4)],
        [f"h.{n}.step_size" for n in range(4)],
        ["0/w", "1/v"],
        ["0.weight", "1.weight"],
        ["step_embedding.0", "step_embedding.1"],
    ],
    ids=str,
)
@pytest.mark.parametrize("folder", ["model", "layers"])
def test_parts_of_a_model_are_one_gradient(
    taken: Run, tmp_path: Path, names: list[str], folder: str
) -> None:
    for name in names:
        array(tmp_path / folder / f"{name}.npy")
    assert taken(folder).status == 0


@pytest.mark.parametrize("folder", ["layers", "blocks", "experts", "rank"])
def test_numbers_below_parts_of_a_model_are_no_steps(
    taken: Run, tmp_path: Path, folder: str
) -> None:
    for number in range(3):
        array(tmp_path / folder / str(number) / "w.npy")
    assert taken(folder).status == 0


@pytest.mark.parametrize("name", ["step_{}", "{}"])
def test_files_of_other_shapes_are_one_gradient(taken: Run, tmp_path: Path, name: str) -> None:
    for number in range(1, 4):
        array(tmp_path / "run" / f"{name.format(number)}.npy", *[1.0] * number)
    assert taken("run").status == 0


def test_a_fifo_is_not_looked_into(taken: Run, tmp_path: Path) -> None:
    for number in range(2):
        os.mkfifo(tmp_path / f"step-{number}.npy")
    said = taken("step-0.npy", "step-1.npy")
    assert said.status == 2, "and it does not wait for what nobody writes"
    assert one_error(said.err) == "gradclip: 2 steps, step-0.npy to step-1.npy, not one gradient"


def test_python_takes_one_gradient_too(tmp_path: Path) -> None:
    for number in range(2):
        array(tmp_path / f"step_{number}.npy")
    with pytest.raises(GradclipError, match="not one gradient"):
        gradclip_cli.inspect(tmp_path)
    assert gradclip_cli.inspect(tmp_path, one_gradient=True).global_norm == 50**0.5


def test_a_step_that_is_named_in_two_ways_counts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path, ["run/step-1", "run/step-2", "run/step-3/g"])
    (tmp_path / "run" / "last.safetensors").symlink_to("step-2.safetensors")
    (tmp_path / "run" / "last").symlink_to("step-3")
    (tmp_path / "here").symlink_to("run")
    one = "run/step-1.safetensors"
    for other in ("./run/step-1.safetensors", "run//step-1.safetensors", "here/step-1.safetensors"):
        with pytest.raises(GradclipError, match=r"is the same step as run/step-1\."):
            gradclip_cli.trend(one, other)
    with pytest.raises(GradclipError, match=r"is the same step as run/step-3\n"):
        gradclip_cli.trend(one, "run/step-3", "run/step-3/")
    given = [
        f"run/{name}" for name in ("last.safetensors", "step-2.safetensors", "last/", "step-3")
    ]
    found = gradclip_cli.trend(given)
    assert [step.step for step in found.steps] == [2, 3]
    assert found.notes == ("2 links to other steps left out: run/last.safetensors, run/last/",)
    assert [step.step for step in gradclip_cli.trend("run").steps] == [1, 2, 3]
