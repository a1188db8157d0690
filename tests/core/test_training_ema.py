import torch

from magref_core.training.ema import WeightAverage


def test_the_average_equals_a_loop_over_numbers():
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(3, 2, generator=generator) for name in ("a", "b")}
    average = WeightAverage(weights, 0.7)
    expected = {name: value.double() for name, value in weights.items()}
    for step in range(40):
        weights = {name: torch.randn(3, 2, generator=generator) for name in weights}
        average.update(weights, step)
        decay = min(0.7, (1 + step) / (10 + step))
        for name, value in weights.items():
            expected[name] = decay * expected[name] + (1 - decay) * value.double()
    for name, value in average.values.items():
        torch.testing.assert_close(value, expected[name].float())


def test_half_precision_weights_are_averaged_in_float32():
    weights = {"a": torch.ones(2, dtype=torch.bfloat16)}
    average = WeightAverage(weights, 0.999)
    average.update({"a": torch.full((2,), 1.0078125, dtype=torch.bfloat16)}, 10_000)
    assert average.values["a"].dtype == torch.float32
    assert (average.values["a"] > 1).all()


def test_the_average_is_no_view_of_the_weights():
    weights = {"a": torch.zeros(2)}
    average = WeightAverage(weights, 0.5)
    weights["a"] += 1
    assert not average.values["a"].any()


def test_parameters_keep_their_gradients_to_themselves():
    weights = {"a": torch.ones(2, requires_grad=True)}
    average = WeightAverage(weights, 0.5)
    average.update(weights, 0)
    assert not average.values["a"].requires_grad
