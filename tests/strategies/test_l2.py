"""L2 to the start of the task."""

import pytest
import torch

from strategies.engine.later import LaterGradients
from strategies.engine.strategy import Strategy
from strategies.l2 import L2, _SquaredDistance, squared_distance, sum_of_squares

QUICK = {"iterations": 4, "lr": 3e-3, "batch_size": 8, "warmup": 1}


def test_the_penalty_is_the_sum_of_squares_to_the_start_of_the_task(toy_encoder, stream, trained):
    class Spy(L2):
        def before_experience(self):
            super().before_experience()
            self.began = {n: p.detach().clone() for n, p in self.encoder.named_parameters()}
            self.found = []

        def compute_loss(self, batch):
            loss = super().compute_loss(batch)
            drift = sum(float(((p.detach() - self.began[n]).double() ** 2).sum()) for n, p in self.encoder.named_parameters())
            self.found.append((loss.item(), Strategy.compute_loss(self, batch).item() + 0.5 * drift, drift))
            return loss

    strategy = trained(Spy, toy_encoder(), stream.train_stream, l2=0.5)
    assert strategy.found[0][2] == 0 and strategy.found[-1][2] > 0.01, "the second task has an anchor of its own"
    for loss, expected, _ in strategy.found:
        assert loss == pytest.approx(expected, rel=1e-5)
    last = strategy.history[-1]
    assert last["loss"] == pytest.approx(last["cross_entropy"] + 0.5 * last["l2"], rel=1e-5)


@pytest.mark.slow
def test_weight_0_is_fine_tuning_to_the_bit(toy_encoder, stream, trained):
    plain, found = (trained(m, toy_encoder(), stream.train_stream, **o) for m, o in ((Strategy, {}), (L2, {"l2": 0.0})))
    theta = plain.weights()
    assert all(torch.equal(tensor, theta[name]) for name, tensor in found.weights().items())


@pytest.mark.slow
def test_a_larger_weight_stays_nearer(toy_encoder, stream, trained):
    start = [p.detach().clone() for p in toy_encoder().parameters()]
    first = stream.train_stream[:1]
    distances = [
        squared_distance(list(trained(L2, toy_encoder(), first, l2=weight).encoder.parameters()), start).item()
        for weight in (0.0, 1.0, 100.0)
    ]
    assert distances[0] > distances[1] > distances[2] > 0


@pytest.mark.parametrize("l2", [-1.0, float("nan"), float("inf")])
def test_option_errors(l2):
    with pytest.raises(ValueError, match="l2 must be"):
        L2.Options(l2=l2)


def test_squared_distance():
    parameters = [torch.nn.Parameter(torch.tensor([1.0, 2.0])), torch.nn.Parameter(torch.tensor([[3.0]]))]
    distance = squared_distance(parameters, [torch.tensor([0.0, 4.0]), torch.tensor([[1.0]])])
    assert distance.item() == 1 + 4 + 4
    distance.backward()
    assert parameters[0].grad.tolist() == [2.0, -4.0]


def test_all_tensors_at_once_are_autograd_to_the_bit():
    torch.manual_seed(0)
    shapes = [(257, 33), (5,), (3, 4, 7), ()]
    start = [torch.randn(shape) for shape in shapes]
    anchor = [tensor + 1e-3 * torch.randn_like(tensor) for tensor in start]

    def gradients(distance):
        parameters = [torch.nn.Parameter(tensor.clone()) for tensor in start]
        value = distance(parameters)
        (0.7 * value + sum(p.sin().sum() for p in parameters)).backward()
        return value.detach(), [p.grad for p in parameters]

    found, of_all = gradients(lambda parameters: squared_distance(parameters, anchor))
    autograd, one_by_one = gradients(
        lambda parameters: torch.stack([(p - a).square().sum() for p, a in zip(parameters, anchor, strict=True)]).sum()
    )
    assert torch.equal(found, autograd)
    assert all(torch.equal(a, b) for a, b in zip(of_all, one_by_one, strict=True))


def test_gradients_that_wait_for_the_end_of_the_backward_pass_are_the_same():
    """The way of a GPU. Tensors without another gradient get this one, those that do not train get none."""
    torch.manual_seed(0)
    start = [torch.randn(shape) for shape in [(33, 7), (5,), (3,), (2,)]]
    anchor = [tensor + torch.randn_like(tensor) for tensor in start]
    results = []
    for later in (None, LaterGradients()):
        parameters = [torch.nn.Parameter(tensor.clone(), requires_grad=i != 3) for i, tensor in enumerate(start)]
        value = _SquaredDistance.apply(parameters, later, *parameters, *anchor)
        (0.7 * value + sum(p.sin().sum() for p in parameters[:2])).backward()
        assert (parameters[2].grad is None) == (later is not None)
        for _ in range(2 if later else 0):
            later.add()
        results.append([p.grad for p in parameters])
    assert all(torch.equal(a, b) for a, b in zip(results[0][:3], results[1][:3], strict=True))
    assert results[0][3] is results[1][3] is None


def test_sums_of_squares_agree():
    torch.manual_seed(0)
    tensors = [torch.randn(shape) for shape in [(33, 7), (5,), ()]]
    torch.testing.assert_close(sum_of_squares(tensors, True), sum_of_squares(tensors, False))
