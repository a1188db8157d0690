from __future__ import annotations

import pytest
import torch

from magref_core.training import precision
from magref_core.training.precision import matrix_precision, multiplies_bfloat16

CPU = torch.device("cpu")


def product_in(mode):
    torch.manual_seed(0)
    a, b = torch.randn(64, 64), torch.randn(64, 64, requires_grad=True)
    with matrix_precision(CPU, mode):
        product = a @ b
    product.float().square().mean().backward()
    return product, b.grad, (a.double() @ b.double()).detach()


def test_float32_leaves_products_as_they_are():
    product, _, exact = product_in("float32")
    assert product.dtype == torch.float32
    torch.testing.assert_close(product.double(), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(not multiplies_bfloat16(), reason="needs a processor with products of bfloat16")
def test_bfloat16_rounds_products_and_leaves_gradients_of_weights_in_float32():
    product, gradient, exact = product_in("bfloat16")
    assert product.dtype == torch.bfloat16 and gradient.dtype == torch.float32
    error = (product.double() - exact).abs().max()
    assert 1e-3 < error < 0.2  # sums of 64 products of size 1, kept in 8 bits


def test_a_processor_without_such_products_stays_in_float32(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    assert product_in("bfloat16")[0].dtype == torch.float32


def test_the_mode_ends_with_its_block_also_by_an_error():
    with pytest.raises(ZeroDivisionError), matrix_precision(CPU, "bfloat16"):
        raise ZeroDivisionError
    assert not torch.is_autocast_enabled("cpu")
