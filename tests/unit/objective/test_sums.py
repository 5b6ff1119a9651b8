"""The one pass over both velocities against plain PyTorch, in value and gradient, however it is called."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from semantic_focus.objective import sums as region_sums
from semantic_focus.objective.loss import semantic_cosine_loss

SHAPE = (3, 5, 8, 12)
WEIGHTS = {"face": 1.0, "hair": 0.6, "sky": 0.0}


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def soft_masks(dtype: torch.dtype = torch.float32, shape: tuple[int, ...] = (3, 8, 12)) -> dict[str, Tensor]:
    """Soft and overlapping; the second picture has no hair."""
    generator = torch.Generator().manual_seed(5)
    masks = {name: torch.rand(*shape, generator=generator, dtype=dtype) * 0.7 for name in WEIGHTS}
    masks["hair"][1] = 0
    return masks


def plain(pred: Tensor, target: Tensor, masks: dict[str, Tensor], cosine: str = "region") -> Tensor:
    """The loss with a global fallback of 0.1 and a magnitude weight of 0.5, region by region, by autograd."""
    dtype = torch.promote_types(pred.dtype, torch.float32)
    pred, target = pred.to(dtype), target.to(dtype)
    planes = {name: mask.to(dtype) for name, mask in masks.items()}
    planes["left"] = 1 - sum(planes.values()).clamp(max=1)  # type: ignore[union-attr]
    losses = []
    for b in range(len(pred)):
        above, below = pred.new_zeros(()), 0.0
        for name, plane in planes.items():
            m, p, t = plane[b], pred[b], target[b]
            weight = 0.1 if name == "left" else WEIGHTS[name]
            if m.sum() == 0 or weight == 0:
                continue
            if cosine == "region":
                loss = 1 - (m * p * t).sum() / ((m * p * p).sum().sqrt() * (m * t * t).sum().sqrt())
            else:
                per_cell = 1 - torch.nn.functional.cosine_similarity(p, t, dim=0)
                loss = (m * per_cell).sum() / m.sum()
            loss = loss + 0.5 * (m * (p - t).square()).sum() / (m.sum() * len(p))
            above, below = above + weight * loss, below + weight
        losses.append(above / below)
    return torch.stack(losses).mean()


def ours(pred: Tensor, target: Tensor, masks: dict[str, Tensor], cosine: str = "region") -> Tensor:
    return semantic_cosine_loss(
        pred,
        target,
        masks,
        WEIGHTS,
        0.1,
        magnitude_weight=0.5,
        cosine=cosine,  # type: ignore[arg-type]
    )


def with_gradients(loss: Callable[..., Tensor], pred: Tensor, target: Tensor, *rest) -> tuple[Tensor, ...]:
    pred, target = pred.detach().requires_grad_(), target.detach().requires_grad_()
    value = loss(pred, target, *rest)
    return value.detach(), *torch.autograd.grad(value, (pred, target))


def assert_equal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("cosine", ["region", "pixel"])
@pytest.mark.parametrize("block", [1, 64, 333, 2**19])
def test_values_and_both_gradients_are_those_of_plain_autograd(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, tolerance: float, cosine: str, block: int
):
    monkeypatch.setattr(region_sums, "BLOCK_ELEMENTS", block)
    pred, target, masks = noise(*SHAPE, dtype=dtype), noise(*SHAPE, seed=1, dtype=dtype), soft_masks(dtype)
    assert_equal(
        with_gradients(ours, pred, target, masks, cosine),
        with_gradients(plain, pred, target, masks, cosine),
        tolerance,
    )


def test_a_video_agrees():
    pred, target = noise(3, 5, 4, 8, 12), noise(3, 5, 4, 8, 12, seed=1)
    masks = soft_masks(shape=(3, 4, 8, 12))
    assert_equal(with_gradients(ours, pred, target, masks), with_gradients(plain, pred, target, masks), 1e-6)


@pytest.mark.parametrize(
    "layout",
    [
        lambda v: v.to(memory_format=torch.channels_last),
        lambda v: v.transpose(2, 3).contiguous().transpose(2, 3),
        lambda v: torch.stack((v, v), -1)[..., 0],
    ],
    ids=["channels last", "transposed", "strided"],
)
def test_the_memory_layout_does_not_matter(layout: Callable[[Tensor], Tensor]):
    pred, target, masks = noise(*SHAPE), noise(*SHAPE, seed=1), soft_masks()
    strided = {name: torch.stack((mask, mask), -1)[..., 0] for name, mask in masks.items()}
    assert_equal(
        with_gradients(ours, layout(pred), layout(target), strided),
        with_gradients(plain, pred, target, masks),
        1e-6,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_velocities_get_a_half_gradient_of_float32_sums(dtype: torch.dtype):
    pred, target, masks = noise(*SHAPE).to(dtype), noise(*SHAPE, seed=1).to(dtype), soft_masks()
    value, by_pred, by_target = with_gradients(ours, pred, target, masks)
    expected = with_gradients(plain, pred.float(), target.float(), masks)
    assert (value.dtype, by_pred.dtype, by_target.dtype) == (torch.float32, dtype, dtype)
    torch.testing.assert_close(value, expected[0], rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(by_pred, expected[1].to(dtype), rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(by_target, expected[2].to(dtype), rtol=1e-2, atol=1e-6)


def test_a_half_prediction_and_a_float_target_may_meet():
    pred, target, masks = noise(*SHAPE).bfloat16(), noise(*SHAPE, seed=1), soft_masks()
    assert_equal((ours(pred, target, masks),), (plain(pred.float(), target, masks),), 1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_masks_are_taken_at_their_value(dtype: torch.dtype):
    pred, target, masks = noise(*SHAPE), noise(*SHAPE, seed=1), soft_masks()
    half = {name: mask.to(dtype) for name, mask in masks.items()}
    same = {name: mask.float() for name, mask in half.items()}
    assert torch.equal(ours(pred, target, half), ours(pred, target, same))


@pytest.mark.parametrize("cosine", ["region", "pixel"])
def test_autocast_around_forward_and_backward_changes_nothing(cosine: str):
    pred, target, masks = noise(*SHAPE), noise(*SHAPE, seed=1), soft_masks()
    expected = with_gradients(ours, pred, target, masks, cosine)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = with_gradients(ours, pred, target, masks, cosine)
    assert_equal(found, expected, 1e-6)


@pytest.mark.parametrize("cosine", ["region", "pixel"])
def test_gradcheck_of_first_and_second_derivative(cosine: str):
    pred = noise(2, 3, 2, 3, dtype=torch.float64).requires_grad_()
    target = noise(2, 3, 2, 3, seed=1, dtype=torch.float64).requires_grad_()
    masks = soft_masks(torch.float64, (2, 2, 3))

    def loss(p: Tensor, t: Tensor) -> Tensor:
        return ours(p, t, masks, cosine)

    assert torch.autograd.gradcheck(loss, (pred, target))
    assert torch.autograd.gradgradcheck(loss, (pred, target))


def test_masks_that_are_learnt_get_their_gradient():
    pred, target = noise(3, 5, 8, 12, dtype=torch.float64), noise(3, 5, 8, 12, seed=1, dtype=torch.float64)
    gradients = []
    for loss in (ours, plain):
        masks = {name: mask.requires_grad_() for name, mask in soft_masks(torch.float64).items()}
        gradients.append(torch.autograd.grad(loss(pred, target, masks), masks["face"])[0])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_it_compiles_without_leaving_the_graph(backend: str):
    torch._dynamo.reset()
    pred, target, masks = noise(*SHAPE), noise(*SHAPE, seed=1), soft_masks()
    compiled = torch.compile(ours, backend=backend, fullgraph=True)
    assert_equal(
        with_gradients(compiled, pred, target, masks), with_gradients(ours, pred, target, masks), 1e-6
    )
    smaller = {name: mask[:2, :, :9] for name, mask in masks.items()}
    assert_equal(
        with_gradients(compiled, pred[:2, ..., :9], target[:2, ..., :9], smaller),
        with_gradients(ours, pred[:2, ..., :9], target[:2, ..., :9], smaller),
        1e-6,
    )


@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(reentrant: bool):
    pred, target, masks = noise(*SHAPE), noise(*SHAPE, seed=1), soft_masks()

    def recomputed(p: Tensor, t: Tensor) -> Tensor:
        return checkpoint(ours, p, t, masks, use_reentrant=reentrant)  # type: ignore[return-value]

    gradients = []
    for loss in (recomputed, lambda p, t: ours(p, t, masks)):
        leaf = pred.clone().requires_grad_()
        loss(leaf, target).backward()
        gradients.append(leaf.grad)
    assert torch.equal(gradients[0], gradients[1])


def test_without_a_gradient_nothing_is_kept():
    pred, target = noise(*SHAPE), noise(*SHAPE, seed=1)
    assert not ours(pred, target, soft_masks()).requires_grad
    with torch.no_grad():
        assert not ours(pred.requires_grad_(), target, soft_masks()).requires_grad
