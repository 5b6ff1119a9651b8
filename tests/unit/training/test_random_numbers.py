"""Random numbers are lent on every device, whatever functions torch has for it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from semantic_focus.training.random_numbers import own_random_numbers


class OneDevice:
    """The functions of torch.mps in older torch: no device is asked for."""

    def __init__(self):
        self.generator = torch.Generator().manual_seed(9)

    def get_rng_state(self) -> Tensor:
        return self.generator.get_state()

    def set_rng_state(self, new_state: Tensor) -> None:
        self.generator.set_state(new_state)

    def manual_seed(self, seed: int) -> None:
        self.generator.manual_seed(seed)


class ManyDevices(OneDevice):
    """Those of newer torch, and of other devices."""

    def get_rng_state(self, device: torch.device | str = "mps") -> Tensor:
        assert torch.device(device).index == 1
        return self.generator.get_state()

    def set_rng_state(self, new_state: Tensor, device: torch.device | str = "mps") -> None:
        assert torch.device(device).index == 1
        self.generator.set_state(new_state)


class NoNumbers:
    """A module that has no generator."""


def drawn(seed: int, device: torch.device, draw: Callable[[], Tensor]) -> Tensor:
    with own_random_numbers(seed, device):
        return draw()


@pytest.mark.parametrize("kind", ["mps", "privateuseone"])
@pytest.mark.parametrize("module", [OneDevice, ManyDevices])
def test_a_device_draws_from_the_seed_and_goes_on_as_before(
    module: type[OneDevice], kind: str, monkeypatch: pytest.MonkeyPatch
):
    own = module()
    monkeypatch.setattr(torch, kind, own, raising=False)
    device = torch.device(kind, 1)
    before = own.generator.get_state(), torch.get_rng_state()

    def draw() -> Tensor:
        return torch.cat((torch.rand(3, generator=own.generator), torch.rand(3)))

    assert torch.equal(drawn(1, device, draw), drawn(1, device, draw))
    assert not torch.equal(drawn(1, device, draw)[:3], drawn(2, device, draw)[:3])
    with pytest.raises(KeyboardInterrupt), own_random_numbers(1, device):
        draw()
        raise KeyboardInterrupt
    assert torch.equal(own.generator.get_state(), before[0]) and torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("module", [None, NoNumbers()], ids=["absent", "empty"])
def test_where_a_device_has_no_generator_that_of_the_cpu_is_lent(
    module: object, monkeypatch: pytest.MonkeyPatch
):
    if module is not None:
        monkeypatch.setattr(torch, "privateuseone", module, raising=False)
    device, before = torch.device("privateuseone", 0), torch.get_rng_state()
    assert torch.equal(drawn(1, device, lambda: torch.rand(3)), drawn(1, device, lambda: torch.rand(3)))
    assert torch.equal(torch.get_rng_state(), before)
