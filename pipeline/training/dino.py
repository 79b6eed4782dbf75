"""DINO (Caron et al. 2021): a vision transformer learns from pictures without labels.

A student sees many crops of a picture, a teacher (the student's own running average) two large ones; the student learns
to say of any crop what the teacher says of another. Nobody says what: centring and sharpening keep the teacher from
saying one thing of all pictures, or everything alike.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.network.slices import Architecture
from pipeline.network.source import IMAGENET_MEAN, IMAGENET_STD
from pipeline.network.vit2d import Vit2d
from pipeline.training import crops
from pipeline.training.crops import Pictures

STUDENT_TEMPERATURE = 0.1
CENTRE_MEMORY = 0.9
DROP_PATH = 0.1  # in the student only
CLIP = 3.0  # norm of all gradients together; the original clips each tensor for itself
# A teacher that says one thing of all pictures (no entropy), or of each picture everything alike (its mean is uniform
# because each answer is), for so many steps, has collapsed.
LEAST_ENTROPY, LEAST_KL, PATIENCE = 0.1, 1e-3, 200
COLUMNS = "step\trate\tloss\tentropy\tkl\n"


@dataclass(frozen=True)
class Plan:
    """How DINO is trained.

    batch: pictures in a step. local: local crops of each. sizes: pixels of global and local crops. outputs, hidden,
    bottleneck: widths of the head. rate: highest learning rate, of a batch of 256 (it grows with the batch). momentum:
    of the teacher at the first step; it rises to 1. temperature: of the teacher, first and after `warmup` of the steps.
    frozen: share of the steps in which the head's last layer stays as it began.
    """

    steps: int
    batch: int
    local: int = 6
    sizes: tuple[int, int] = (128, 48)
    outputs: int = 4096
    hidden: int = 512
    bottleneck: int = 256
    rate: float = 5e-4
    momentum: float = 0.996
    temperature: tuple[float, float] = (0.04, 0.04)
    warmup: float = 0.1
    frozen: float = 0.05
    seed: int = 0


class Head(nn.Module):
    """(B, E) -> (B, M) logits: three layers, then the cosine to M directions of norm 1."""

    def __init__(self, width: int, *, hidden: int, bottleneck: int, outputs: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        # A weight-normalised layer whose gain is fixed at 1 has no gain.
        self.last = nn.Parameter(torch.empty(outputs, bottleneck))
        for name, parameter in self.named_parameters():
            if parameter.dim() > 1:
                nn.init.trunc_normal_(parameter, std=0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def directions(self) -> Tensor:
        """(M, bottleneck) rows of norm 1."""
        return F.normalize(self.last, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        return F.linear(F.normalize(self.mlp(features).float(), dim=1), self.directions())


class Net(nn.Module):
    """A backbone and its head; a list of crops in, logits of all of them out."""

    def __init__(self, sizes: Architecture, plan: Plan, *, drop_path: float) -> None:
        super().__init__()
        self.backbone = Vit2d(sizes, drop_path=drop_path)
        widths = {"hidden": plan.hidden, "bottleneck": plan.bottleneck, "outputs": plan.outputs}
        self.head = Head(sizes.width, **widths)

    def forward(self, views: list[Tensor]) -> Tensor:
        """[(B, 3, S, S), ...] -> (views, B, M); crops of one size go through together."""
        sizes = [view.shape[-1] for view in views]
        features = [
            self.backbone(torch.cat([view for view in views if view.shape[-1] == size]))
            for size in dict.fromkeys(sizes)
        ]
        return self.head(torch.cat(features)).unflatten(0, (len(views), -1))


def dino_loss(student: Tensor, teacher: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of what the student says of a crop against what the teacher says of another, over all such pairs.

    student: (V, B, M) logits, the global crops first. teacher: (2, B, M) logits. centre: (M,).
    """
    said = F.log_softmax(student.float() / STUDENT_TEMPERATURE, -1)
    wanted = teacher_says(teacher, centre, temperature)
    # (2, V): one product for all pairs; a crop is never compared with itself.
    pairs = -torch.einsum("ibm,vbm->iv", wanted, said) / student.shape[1]
    others = 1 - torch.eye(2, len(student), device=pairs.device)
    return (pairs * others).sum() / others.sum()


def teacher_says(teacher: Tensor, centre: Tensor, temperature: float) -> Tensor:
    """Probabilities (2, B, M), without gradient: centred and sharpened."""
    return ((teacher.detach().float() - centre) / temperature).softmax(-1)


def moved_centre(centre: Tensor, teacher: Tensor) -> Tensor:
    """The running mean of the teacher's logits, (M,)."""
    return CENTRE_MEMORY * centre + (1 - CENTRE_MEMORY) * teacher.detach().float().mean((0, 1))


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """teacher <- momentum * teacher + (1 - momentum) * student."""
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)


def schedules(plan: Plan) -> dict[str, np.ndarray]:
    """(steps,) arrays: rate (linear warm-up, cosine to 1e-6), decay (.04 to .4), momentum (to 1), temperature."""
    step, last = np.arange(plan.steps), max(plan.steps - 1, 1)
    warm = round(plan.warmup * plan.steps)
    falling = 0.5 * (1 + np.cos(np.pi * np.clip((step - warm) / max(last - warm, 1), 0, 1)))
    top, rising = plan.rate * plan.batch / 256, 0.5 * (1 - np.cos(np.pi * step / last))
    first, then = plan.temperature
    return {
        "rate": np.where(step < warm, top * step / max(warm, 1), 1e-6 + (top - 1e-6) * falling),
        "decay": 0.04 + (0.4 - 0.04) * rising,
        "momentum": plan.momentum + (1 - plan.momentum) * rising,
        "temperature": first + (then - first) * np.clip(step / max(warm, 1), 0, 1),
    }


class Guard:
    """Stops a training whose teacher has collapsed."""

    def __init__(self, outputs: int) -> None:
        self.least_kl, self.bad = LEAST_KL * math.log(outputs), 0

    def look(self, entropy: float, kl: float, log: Path | str) -> None:
        """InputError after PATIENCE steps in a row that look like a collapse."""
        self.bad = self.bad + 1 if entropy < LEAST_ENTROPY or kl < self.least_kl else 0
        if self.bad >= PATIENCE:
            told = f"the teacher says the same of all pictures: entropy {entropy:.3g}, distance from uniform {kl:.3g}"
            raise InputError(f"dino: {log}", told, "a lower rate, a larger batch, or other pictures")


def health(says: Tensor) -> tuple[Tensor, Tensor]:
    """Mean entropy of the teacher's answers (2, B, M), and the distance (KL) of their mean from uniform, in nats."""
    flat = says.flatten(0, 1)
    mean = flat.mean(0)
    entropy = -(flat * flat.clamp(min=1e-12).log()).sum(1).mean()
    return entropy, (mean * mean.clamp(min=1e-12).log()).sum() + math.log(says.shape[-1])


def begin(sizes: Architecture, plan: Plan, start: dict[str, Tensor] | None) -> tuple[Net, Net]:
    """Student and teacher that are alike; the backbone is random, or `start` under timm's names."""
    torch.manual_seed(plan.seed)
    student, teacher = Net(sizes, plan, drop_path=DROP_PATH), Net(sizes, plan, drop_path=0.0)
    if start is not None:
        student.backbone.load_state_dict(start)
    teacher.load_state_dict(student.state_dict())
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return student, teacher


def train(
    pictures: Pictures,
    sizes: Architecture,
    plan: Plan,
    *,
    log: Path,
    checkpoint: Path,
    digest: str = "",
    start: dict[str, Tensor] | None = None,
    bf16: bool = False,
    save_every: int = 500,
    until=lambda step: False,
) -> Vit2d:
    """The teacher's backbone after `plan.steps`; killed, it goes on from its checkpoint.

    pictures: on the device that trains. sizes: of the backbone; its tile is the global crop. start: see `begin`.
    digest: of what decides the result: a checkpoint of another is not continued. until: called with each step; True
    ends the training early. Raises InputError when the teacher collapses.
    """
    device = str(pictures.rgb.device.type)
    student, teacher = (net.to(device) for net in begin(sizes, plan, start))
    groups = [
        {"params": [value for value in student.parameters() if (value.dim() > 1) == decays], "decays": decays}
        for decays in (True, False)
    ]
    optimiser = torch.optim.AdamW(groups, lr=0.0)
    centre = torch.zeros(plan.outputs, device=device)
    first = _resume(checkpoint, digest, student, teacher, optimiser, centre, log)
    table, guard = schedules(plan), Guard(plan.outputs)
    draw = Generator(device)
    for step in range(first, plan.steps):
        if until(step):
            break
        for group in optimiser.param_groups:
            group["lr"] = float(table["rate"][step])
            group["weight_decay"] = float(table["decay"][step]) if group["decays"] else 0.0
        # A function of the seed and the step alone: what goes on sees what it would have seen.
        draw.manual_seed(plan.seed * 1_000_003 + step)
        torch.manual_seed(plan.seed * 1_000_003 + step)
        which = torch.randint(len(pictures), (plan.batch,), generator=draw, device=device)
        views = crops.views(
            pictures, which, draw, local=plan.local, sizes=plan.sizes, mean=IMAGENET_MEAN, std=IMAGENET_STD
        )
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            with torch.no_grad():
                seen = teacher(views[:2])
            loss = dino_loss(student(views), seen, centre, float(table["temperature"][step]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if step < plan.frozen * plan.steps:
            student.head.last.grad = None
        nn.utils.clip_grad_norm_(student.parameters(), CLIP)
        optimiser.step()
        entropy, kl = health(teacher_says(seen, centre, float(table["temperature"][step])))
        centre.copy_(moved_centre(centre, seen))
        follow(teacher, student, float(table["momentum"][step]))
        told = [float(value) for value in torch.stack([loss.detach(), entropy, kl])]
        with log.open("a") as file:
            file.write(
                f"{step}\t{table['rate'][step]:.4g}\t" + "\t".join(f"{value:.5g}" for value in told) + "\n"
            )
        guard.look(told[1], told[2], log)
        if (step + 1) % save_every == 0 or step + 1 == plan.steps:
            _save(checkpoint, step + 1, digest, student, teacher, optimiser, centre)
    return teacher.backbone.eval()


def _save(checkpoint: Path, step: int, digest: str, student, teacher, optimiser, centre: Tensor) -> None:
    state = {
        "step": step,
        "digest": digest,
        "student": student.state_dict(),
        "teacher": teacher.state_dict(),
        "optimiser": optimiser.state_dict(),
        "centre": centre,
    }
    with whole(checkpoint) as private:
        torch.save(state, private)


def _resume(checkpoint: Path, digest: str, student, teacher, optimiser, centre: Tensor, log: Path) -> int:
    log.parent.mkdir(parents=True, exist_ok=True)
    state = None
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        if state["digest"] != digest:
            checkpoint.replace(checkpoint.with_name(f"{checkpoint.name}.other"))
            print(f"{checkpoint}: of other settings or pictures, put aside: beginning anew", flush=True)
            state = None
    if state is None:
        log.write_text(COLUMNS)
        return 0
    for name, part in (("student", student), ("teacher", teacher), ("optimiser", optimiser)):
        part.load_state_dict(state[name])
    centre.copy_(state["centre"])
    lines = log.read_text().splitlines(keepends=True)[1 : state["step"] + 1] if log.is_file() else []
    log.write_text(COLUMNS + "".join(lines))
    return state["step"]


@torch.inference_mode()
def features(backbone: Vit2d, pictures: Pictures, *, size: int, batch: int = 64) -> Tensor:
    """(n, E) class tokens of norm 1 of the middle of each picture at size x size."""
    device = next(backbone.parameters()).device
    found = []
    for which in torch.arange(len(pictures), device=pictures.rgb.device).split(batch):
        seen = crops.normalised(crops.centre(pictures, which, size), IMAGENET_MEAN, IMAGENET_STD)
        found.append(F.normalize(backbone(seen.to(device)).float(), dim=1))
    return torch.cat(found)


def nearest_neighbours(found: Tensor, classes: Tensor, k: int, *, temperature: float = 0.07) -> float:
    """Share of pictures whose class the k others nearest to it name; found: (n, E) of norm 1, classes: (n,) numbers.

    Votes weigh exp(cosine / temperature), as in Caron et al. 2021.
    """
    likeness = found @ found.T
    likeness.fill_diagonal_(-math.inf)
    nearest, who = likeness.topk(k, 1)
    votes = torch.zeros(len(found), int(classes.max()) + 1, device=found.device)
    votes.scatter_add_(1, classes.to(found.device)[who], (nearest / temperature).exp())
    return float((votes.argmax(1) == classes.to(found.device)).float().mean())


def sizes_of(wanted: Architecture, plan: Plan) -> Architecture:
    """`wanted` with the grid of the global crops."""
    return replace(wanted, tile=plan.sizes[0])


@torch.inference_mode()
def attention_maps(
    backbone: Vit2d, pictures: Pictures, which: Tensor, *, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The middle of some pictures, (n, size, size, 3) uint8, and where the class token looks, (n, heads, h, w)."""
    seen = crops.centre(pictures, which, size)
    device = next(backbone.parameters()).device
    maps = backbone.attention(crops.normalised(seen, IMAGENET_MEAN, IMAGENET_STD).to(device))
    rgb = (seen.permute(0, 2, 3, 1) * 255).round().to(torch.uint8)
    return rgb.cpu().numpy(), maps.float().cpu().numpy()
