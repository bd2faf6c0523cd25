"""Matrix products of the loss: in the features' own precision, or in half with float32 sums."""

from __future__ import annotations

import torch
from torch import Tensor

# Largest error of a logit, in nats, that rounding the features may cause in the worst case.
_TOLERATED = 0.2

# torch 2.8 and newer.
HAS_FLOAT32_SUMS = "dtype" in torch.ops.aten.mm.overloads()


class Keys:
    """Keys and their matrix products.

    Args:
        keys: (K, D) keys of length one, float32 or float64.
        half: Type to which the factors of products are rounded (bfloat16, float16), or None.
            Sums and results stay in float32.
    """

    def __init__(self, keys: Tensor, half: torch.dtype | None = None) -> None:
        self.dtype = keys.dtype
        self.half = half
        self.rows = keys if half is None else keys.to(half)

    def scores(self, rows: Tensor) -> Tensor:
        """Return the inner products of (r, b, D) rows with the keys, (r, b, K)."""
        return self._product(rows.flatten(0, 1), self.rows.T).unflatten(0, rows.shape[:2])

    def pull(self, coefficients: Tensor) -> Tensor:
        """Return the sums of the keys with (r, b, K) coefficients, (r, b, D)."""
        product = self._product(coefficients.flatten(0, 1), self.rows)
        return product.unflatten(0, coefficients.shape[:2])

    def push(self, coefficients: Tensor, rows: Tensor, onto: Tensor) -> None:
        """Add to each key the sum of the (r, b, D) rows with these (r, b, K) coefficients."""
        a, b = coefficients.flatten(0, 1).T, rows.flatten(0, 1)
        if self.half is None:
            onto.addmm_(a, b)
        else:
            onto.add_(self._product(a, b.to(self.half)))

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        if self.half is None:
            return a @ b
        return multiply_half(a.to(self.half), b)


def multiply_half(a: Tensor, b: Tensor) -> Tensor:
    """Multiply matrices of a half type with sums and result in float32 (CUDA only)."""
    return torch.mm(a, b, out_dtype=torch.float32)


def half_type(device: torch.device, dtype: torch.dtype, temperature: float) -> torch.dtype | None:
    """Return the type of the products' factors under the current autocast.

    Cosines divided by a low temperature need more digits than a half type has: factors with a
    relative rounding error of eps / 2 each change a cosine of unit rows by at most eps, and a logit
    by eps / temperature. Products use half precision only where this error is tolerable; the
    attention itself never does.

    Args:
        device: Device of the features.
        dtype: Type of the computation, float32 or float64.
        temperature: The lower of the two temperatures.

    Returns:
        bfloat16 or float16, or None for products in ``dtype``: without autocast, in float64, at low
        temperatures, and where torch would round the results of the products too.
    """
    if device.type != "cuda" or dtype != torch.float32 or not HAS_FLOAT32_SUMS:
        return None
    if not torch.is_autocast_enabled("cuda"):
        return None
    half = torch.get_autocast_dtype("cuda")
    if half == torch.bfloat16 and not torch.cuda.is_bf16_supported(False):
        return None
    return half if torch.finfo(half).eps <= _TOLERATED * temperature else None
