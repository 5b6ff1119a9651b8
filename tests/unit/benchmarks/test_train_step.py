"""The training step benchmark computes what it prints; what it measures needs a ComfyUI and minutes."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def benchmark_module() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    try:
        return importlib.import_module("benchmarks.train_step")
    finally:
        sys.path.pop(0)


def test_the_first_step_does_not_count_and_its_peak_is_that_of_the_whole_run(benchmark_module):
    steps = [benchmark_module.Step(*row) for row in ((90, 80, 5), (3, 2, 7), (9, 6, 7), (4, 5, 8))]
    assert benchmark_module.cost(steps) == benchmark_module.Cost(wall=4, least=3, cpu=5, peak=8)


def test_steps_that_alternate_count_as_their_mean_even_if_one_kind_came_more_often(benchmark_module):
    walls = (90, 2, 5, 2, 6, 3)  # cheap: 2, 2, 3; expensive: 5, 6
    steps = [benchmark_module.Step(wall, 2 * wall, 1) for wall in walls]
    cost = benchmark_module.cost(steps, period=2)
    assert (cost.wall, cost.least, cost.cpu) == ((2 + 5.5) / 2, (2 + 5) / 2, 2 + 5.5)


def test_a_bar_is_judged_by_cpu_time(benchmark_module):
    cpu = {benchmark_module.CORE: 10.0, benchmark_module.OURS: 6.5}
    costs = {
        name: benchmark_module.Cost(wall=1, least=1, cpu=cpu.get(name, 9.8), peak=1)
        for name in benchmark_module.COMPARED["objectives"]
    }
    lines = benchmark_module.report(costs, benchmark_module.BARS["objectives"]).splitlines()
    assert (
        "- CPU time, ours, MSE / TrainLoraNode: 0.65, at most 0.65: holds (s/step 1.00, least 1.00)" in lines
    )
    assert (
        "- CPU time, ours, 7 regions / ours, MSE: 1.51, at most 1.05: MISSED (s/step 1.00, least 1.00)"
        in lines
    )


def test_two_versions_are_compared_step_by_step_in_a_machine_that_slows_down(benchmark_module):
    now, then = (
        [benchmark_module.Step(1, cpu, 1) for cpu in times]
        for times in ((50, 1.1, 2.0, 8.8), (50, 1.0, 2.0, 8.0))
    )
    assert benchmark_module.paired(now, then) == pytest.approx(1.1)
    named = benchmark_module.BARS["versions"]
    assert {limit for *_, limit in named} == {1.02}
    assert {name for one, other, _ in named for name in (one, other)} == set(
        benchmark_module.versions(Path("elsewhere"))
    )


def test_every_bar_is_about_what_is_measured(benchmark_module):
    for compared, candidates in benchmark_module.COMPARED.items():
        assert {name for one, other, _ in benchmark_module.BARS[compared] for name in (one, other)} <= set(
            candidates
        )


def test_every_region_of_the_objective_has_cells_and_some_are_left_for_the_prior(benchmark_module, tmp_path):
    workload = benchmark_module.Workload(tmp_path, tmp_path, 8, 32, 3, 1)
    masks = workload.masks()
    assert masks.shape == (7, 32, 32)
    assert masks.sum((1, 2)).tolist() == [128.0] * 7
    assert masks.sum(0).max() == 1
