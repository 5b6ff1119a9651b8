"""Models in 16 bit and weights in forms of their own, in a real ComfyUI. The numbers come from
measure_precision.py, run once.
"""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_precision.py", comfy)


@pytest.mark.parametrize("family", ["sd15", "sdxl_v"])
class TestGradients:
    """Of a picture of 1024², 16 pictures in an update, against fp32."""

    def test_those_of_fp16_are_within_one_percent(self, measured: dict[str, Any], family: str):
        assert measured[family]["scaled"] < 0.01

    def test_without_a_scale_they_would_be_partly_noise(self, measured: dict[str, Any], family: str):
        assert measured[family]["unscaled"] > 0.1

    def test_bf16_would_be_further_off(self, measured: dict[str, Any], family: str):
        """Why a model that ComfyUI samples in fp16 is trained in it."""
        assert measured[family]["bf16"] > 3 * measured[family]["scaled"]


def test_a_training_with_overflows_is_gone_on_with_bit_for_bit(measured: dict[str, Any]):
    resume = measured["resume"]
    factors = [resume["start"], *resume["factors"]]
    changes = [after - before for before, after in zip(factors, factors[1:], strict=False)]
    assert min(changes) < 0 < max(changes), "it has fallen and grown"
    assert resume["bit_equal"] == [True, True]


@pytest.mark.parametrize(
    ("weights", "dtype"),
    [("fp32", "float32"), ("fp16", "float16"), ("fp16 from fp8", "float16"), ("bf16 from fp8", "bfloat16")],
)
def test_a_network_computes_in_what_comfyui_has_chosen(measured: dict[str, Any], weights: str, dtype: str):
    assert measured["compute"][weights] == f"torch.{dtype}"


def test_products_are_summed_in_fp32_while_training(measured: dict[str, Any]):
    """And as they were afterwards, on or off."""
    assert measured["accumulation"] == [[False, True], [False, False]]


class TestFingerprint:
    @pytest.mark.parametrize("kind", ["plain", "bytes", "quantised"])
    def test_it_changes_with_what_is_stored(self, measured: dict[str, Any], kind: str):
        one, again, other = measured["fingerprints"][kind]
        assert one == again != other

    @pytest.mark.parametrize("kind", ["meta", "out_of_reach"])
    def test_a_weight_that_cannot_be_read_counts_by_its_name(self, measured: dict[str, Any], kind: str):
        assert len(set(measured["fingerprints"][kind])) == 1

    def test_another_form_of_the_same_weight_is_another_model(self, measured: dict[str, Any]):
        firsts = [names[0] for names in measured["fingerprints"].values()]
        assert len(set(firsts)) == len(firsts)

    def test_an_ordinary_model_keeps_that_of_earlier_versions(self, measured: dict[str, Any]):
        now, earlier = measured["earlier_fingerprint"]
        assert now == earlier
