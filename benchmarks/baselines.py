"""The two yardsticks of the training comparison: the matrix products alone, and the loop that anybody would write."""

from __future__ import annotations

import time
from itertools import cycle

import torch
from torch import Tensor, nn

from benchmarks.setting import D_IN, D_SAE, TOKENS, batches

L1_COEF = 0.04


class BareProducts:
    """The five bf16 matrix products of one SAE step into kept buffers: no step can be faster."""

    def __init__(self):
        def low(*shape: int) -> Tensor:
            return torch.randn(shape).to(torch.bfloat16)

        self.data = cycle(x.flatten(0, 1) for x in batches())
        self.W_enc, self.W_dec = low(D_IN, D_SAE), low(D_SAE, D_IN)
        self.pre, self.x_hat = low(TOKENS, D_SAE), low(TOKENS, D_IN)
        self.f, self.df = low(TOKENS, D_SAE), low(TOKENS, D_SAE)
        self.dW_enc, self.dW_dec = low(D_IN, D_SAE), low(D_SAE, D_IN)

    @torch.inference_mode()
    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            x = next(self.data)
            torch.mm(x, self.W_enc, out=self.pre)
            torch.mm(self.f, self.W_dec, out=self.x_hat)
            torch.mm(self.x_hat, self.W_dec.T, out=self.df)
            torch.mm(self.f.T, self.x_hat, out=self.dW_dec)
            torch.mm(x.T, self.df, out=self.dW_enc)
        return time.perf_counter() - start


class PlainLoop:
    """A standard SAE in plain PyTorch: autograd, bf16 autocast, fused AdamW, decoder rows renormalised."""

    def __init__(self):
        torch.manual_seed(0)
        W_dec = nn.functional.normalize(torch.randn(D_SAE, D_IN), dim=-1)
        self.W_dec = nn.Parameter(W_dec)
        self.W_enc = nn.Parameter(W_dec.T.clone())
        self.b_enc, self.b_dec = nn.Parameter(torch.zeros(D_SAE)), nn.Parameter(torch.zeros(D_IN))
        weights = [self.W_enc, self.b_enc, self.W_dec, self.b_dec]
        self.optimizer = torch.optim.AdamW(weights, lr=3e-4, fused=True)
        self.data = cycle(x.flatten(0, 1) for x in batches())

    def run(self, steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            self._step(next(self.data))
        return time.perf_counter() - start

    def _step(self, x: Tensor) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            f = torch.relu(x @ self.W_enc + self.b_enc)
            x_hat = f @ self.W_dec + self.b_dec
        loss = ((x_hat.float() - x).square().sum(-1) + L1_COEF * f.float().sum(-1)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            self.W_dec /= torch.linalg.vector_norm(self.W_dec, dim=-1, keepdim=True)
