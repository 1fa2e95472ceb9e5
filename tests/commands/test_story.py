"""What happened in a run is told in the order of its steps, and where to look first."""

import re
from pathlib import Path

import gradclip_cli
from gradclip_cli.render.html.document import document
from gradclip_cli.results.story import Story, story
from tests.steps import INF, of_norms, write_steps

SAMPLE = Path(__file__).parents[2] / "sample_grads"
CALM = [1.0, 1.1, 0.9, 1.05, 0.95, 1.0, 1.1, 0.9, 1.0, 1.02, 0.98, 1.0]


def told(found: Story) -> list[tuple[str, str]]:
    return [(event.step, one) for event in found.events for one in event.says]


def test_the_sample_run_is_told_from_its_cause_to_its_end() -> None:
    steps = [*sorted(SAMPLE.glob("step-??.safetensors")), SAMPLE / "step-24-float16.safetensors"]
    found = story(gradclip_cli.trend(*map(str, steps)))
    assert told(found) == [
        ("16", "the norm of rnn.weight_hh_l0 leaves its range and does not come back"),
        ("20", "the largest norm, 433,422; rnn.weight_hh_l0 has 98.2 % of the squared norm"),
        (
            "21",
            "4 tensors are exactly zero from here to step 22: rnn.weight_ih_l0, rnn.weight_hh_l0, "
            "rnn.bias_ih_l0, rnn.bias_hh_l0",
        ),
        ("24", "float16 instead of float32"),
        ("24", "step 23 is missing before it"),
        (
            "24",
            "the first values that are not finite, in 6 tensors; likely the first of all in "
            "head.weight: 26 +inf, 24 -inf",
        ),
    ]
    assert found.moral == (
        "Look at step 16 first: the norm of rnn.weight_hh_l0 leaves its range and does not come "
        "back. What comes after may follow from it."
    )
    assert found.gaps == (13,)


def test_of_a_calm_run_there_is_nothing_to_tell(tmp_path: Path) -> None:
    found = of_norms(tmp_path, *CALM)
    assert story(found) == Story(())
    assert "What happened" not in document([found])


def test_what_came_alone_is_no_cause_of_another(tmp_path: Path) -> None:
    found = story(of_norms(tmp_path, *CALM, INF))
    assert [step for step, _ in told(found)] == ["12"]
    assert found.moral == ""


def test_a_spike_and_the_largest_norm_are_one_event(tmp_path: Path) -> None:
    found = story(of_norms(tmp_path, *CALM, 500.0, *CALM))
    assert [event.says for event in found.events] == [
        ("the first spike", "the largest norm, 500.0; w has 100 % of the squared norm")
    ]


def test_steps_that_are_missing_are_told_by_their_usual_distance(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in CALM))
    assert told(story(gradclip_cli.trend(paths[::2]))) == []
    assert told(story(gradclip_cli.trend([*paths[:5], *paths[6:]]))) == [
        ("6", "step 5 is missing before it")
    ]
    assert told(story(gradclip_cli.trend([*paths[:5], *paths[8:]]))) == [
        ("8", "3 steps are missing before it")
    ]


def test_a_tensor_that_moves_though_the_norm_of_all_hides_it_is_told(tmp_path: Path) -> None:
    steps = [
        {"large": [100 * norm], "small": [norm * (20 if n > 5 else 1)], "weak": [norm / 10**n]}
        for n, norm in enumerate(CALM)
    ]
    found = story(gradclip_cli.trend(write_steps(tmp_path, *steps)))
    assert ("6", "the norm of small rises for good") in told(found)


def test_what_is_too_small_to_tell_is_counted(tmp_path: Path) -> None:
    names = [f"t{n}" for n in range(40)]
    steps = [
        {"all": [1e6]} | {name: [1.0 if step < 3 + n else 0.0] for n, name in enumerate(names)}
        for step in range(46)
    ]
    run = gradclip_cli.trend(write_steps(tmp_path, *steps))
    found = story(run)
    assert len(found.events) == 12
    assert found.left == 40 - 12
    assert [event.place for event in found.events] == sorted(e.place for e in found.events)
    assert "28 more events are left out." in document([run])


def test_the_numbers_of_the_pictures_are_those_of_the_list(tmp_path: Path) -> None:
    text = document([of_norms(tmp_path, *CALM, 500.0, *CALM, *[50.0] * 5, INF)])
    count = text.count("<li data-at=")
    listed = [str(number + 1) for number in range(count)]
    drawn = re.findall(r'<text[^>]*class="event"[^>]*>(\d+)</text>', text)
    assert len(listed) > 2
    assert drawn == [*listed, *listed]  # above the norms, and above the layers


def test_the_worst_is_told_whatever_else_there_is(tmp_path: Path) -> None:
    steps = []
    for step in range(60):
        named = {f"t{n}": [1.0 if step < 6 + 2 * n else 0.0] for n in range(14)}
        named["all"] = [INF if step == 45 else 1e4 if step == 50 else 50.0 + step % 3]
        steps.append(named)
    found = story(gradclip_cli.trend(write_steps(tmp_path, *steps)))
    assert {"45", "50"} <= {event.step for event in found.events}
    assert found.left


def test_what_cannot_be_read_is_not_missing_and_no_cause(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *({"w": [norm]} for norm in [*CALM, *[500.0] * 11, 600.0]))
    for path in paths[9:12]:
        Path(path).write_bytes(b"nothing")
    found = story(gradclip_cli.trend(paths))
    assert not found.gaps
    Path(paths[9]).unlink()
    found = story(gradclip_cli.trend(tmp_path))
    assert ("12", "1 step is missing before it") in told(found)
    assert "missing" not in found.moral
    assert "Look at step 12 first: the norm of w leaves its range" in found.moral


def test_a_step_without_tensors_is_no_change_of_dtype(tmp_path: Path) -> None:
    paths = write_steps(tmp_path, *({"w": [norm]} if norm != 0.9 else {} for norm in CALM))
    assert document([gradclip_cli.trend(paths)])


def test_a_norm_beyond_float64_is_told_as_that(tmp_path: Path) -> None:
    huge = {"w": [1e308] * 9}
    calm = ({"w": [norm]} for norm in CALM)
    found = story(gradclip_cli.trend(write_steps(tmp_path, *calm, {"w": [40.0]}, huge)))
    assert ("13", "the first norm that is beyond float64") in told(found)
    assert not [words for _, words in told(found) if "inf" in words]


def test_the_norm_of_the_tensor_to_blame_is_drawn(tmp_path: Path) -> None:
    calm = [{"w": [norm], "b": [norm / 9]} for norm in CALM]
    wild = [{"w": [300.0 + n], "b": [0.1]} for n in range(6)]
    found = gradclip_cli.trend(write_steps(tmp_path, *calm, *wild))
    assert story(found).culprit == "w"
    text = document([found])
    assert "norm of w</li>" in text
    assert text.count('class="blamed"') == 2  # beside its words, and in the picture
    assert 'class="blamed"' not in document([of_norms(tmp_path / "calm", *CALM)])
