"""The lines that a training writes: few, and with what a person waits for."""

from semantic_focus.training.progress import ProgressLines
from semantic_focus.training.step_record import StepRecord


def written(first: int, steps: int, seconds_a_step: float = 2.0) -> list[str]:
    time = 0.0
    lines = ProgressLines(steps, lambda: time)
    found = []
    for step in range(first, steps + 1):
        time += seconds_a_step
        found += lines.after(StepRecord(step, 0.5, {}, 0.0, 0.0, 1e-4))
    return found


def test_first_and_last_step_and_twenty_between():
    found = written(7, 1000)
    assert found[:2] == ["going on from step 6", "step 7/1000, loss 0.5000"]
    assert found[-1] == "step 1000/1000, loss 0.5000, 2.00 s a step, 0:00 left"
    assert len(found) == 22


def test_a_new_training_goes_on_from_nowhere():
    assert written(1, 3) == [
        "step 1/3, loss 0.5000",
        "step 2/3, loss 0.5000, 2.00 s a step, 0:02 left",
        "step 3/3, loss 0.5000, 2.00 s a step, 0:00 left",
    ]


def test_the_time_that_is_left_is_of_the_steps_that_are_left():
    """Of 100 steps of 3 s, 95 are left after the 5th: 285 s."""
    assert written(1, 100, 3.0)[1] == "step 5/100, loss 0.5000, 3.00 s a step, 4:45 left"
