import pytest
import torch

from magref_core.training.precision import matrix_precision


def test_products_are_rounded_within_and_exact_after():
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a @ b
    cpu = torch.device("cpu")
    with matrix_precision(cpu, "float32"):
        assert torch.equal(a @ b, exact)
    with pytest.raises(ZeroDivisionError), matrix_precision(cpu, "bfloat16"):
        assert torch.get_float32_matmul_precision() == "medium"
        product = a @ b
        raise ZeroDivisionError
    assert product.dtype == torch.float32
    assert (product - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.get_float32_matmul_precision() == "highest" and torch.equal(a @ b, exact)
