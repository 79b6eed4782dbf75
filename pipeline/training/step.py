"""One step of a training: loss, gradients, weights. On a GPU it is recorded once and played again.

At batches of a dozen windows a GPU waits for the launches of a step's thousands of small kernels. A CUDA graph
launches them as one. The shapes of a batch must then stay as they were; a batch of another shape takes the slow way.
"""

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

# Steps before the recording: the optimiser's state and the libraries' workspaces must exist.
EAGER = 3


class Step:
    """The steps of AdamW on a model (clip 1).

    loss: (model, batch) -> scalar. groups: [{"params", "rate": highest learning rate, "weight_decay"}, ...].
    """

    def __init__(self, model: nn.Module, loss, groups: list[dict], *, bf16: bool) -> None:
        self.model, self.loss, self.bf16 = model, loss, bf16
        self.device = next(model.parameters()).device
        self.cuda = self.device.type == "cuda"
        self.optimiser = torch.optim.AdamW(
            [{"lr": 0.0, **group} for group in groups], betas=(0.9, 0.98), fused=True, capturable=self.cuda
        )
        self.highest = torch.tensor([group["rate"] for group in groups], device=self.device)
        self.rates = torch.zeros_like(self.highest)
        self.taken = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.seen: tuple[Tensor, ...] = ()
        self.lost = torch.zeros(())
        self._own_rates()

    def __call__(self, batch: tuple[Tensor, ...], factor: float) -> Tensor:
        """Take a step with the highest rates times `factor`; the loss before it (on the device, not waited for)."""
        if not self.cuda:
            for group in self.optimiser.param_groups:
                group["lr"] = group["rate"] * factor
            return self._eager(tuple(part.to(self.device) for part in batch))
        torch.mul(self.highest, factor, out=self.rates)
        self.taken += 1
        if self.graph is None and self.taken > EAGER:
            self._record(batch)
        if self.graph is None or [part.shape for part in batch] != [part.shape for part in self.seen]:
            return self._eager(tuple(part.to(self.device, non_blocking=True) for part in batch))
        for place, part in zip(self.seen, batch, strict=True):
            place.copy_(part, non_blocking=True)
        self.graph.replay()
        return self.lost.clone()

    def load_state_dict(self, state: dict) -> None:
        """Of an optimiser on any device."""
        self.optimiser.load_state_dict(state)
        for group in self.optimiser.param_groups:
            group["capturable"] = self.cuda
        self._own_rates()

    def _own_rates(self) -> None:
        # A recorded step reads the rates where they lie.
        if self.cuda:
            for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
                group["lr"] = rate

    def _eager(self, batch: tuple[Tensor, ...]) -> Tensor:
        self.optimiser.zero_grad(set_to_none=True)
        with (
            torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16),
            sdpa_kernel(self._attention()),
        ):
            loss = self.loss(self.model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        return loss.detach()

    def _record(self, batch: tuple[Tensor, ...]) -> None:
        self.seen = tuple(part.to(self.device).clone() for part in batch)
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        # Other threads go on copying batches meanwhile.
        with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
            self.lost = self._eager(self.seen)

    def _attention(self) -> list[SDPBackend]:
        """On a CPU the backward pass of flash attention takes a third of the step; plain matrix products do not."""
        if not self.cuda:
            return [SDPBackend.MATH]
        return [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
