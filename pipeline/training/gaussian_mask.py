"""Pre-training without labels: rebuild a volume whose blocks were replaced by noise.

Zhang et al. 2024, *SegNeuron*: blocks of several sizes become Gaussian noise of the crop's own mean and spread;
one decoder rebuilds the grey, another the picture of oriented gradients (HOG), which holds membranes and little
else. Neither decoder sees the encoder's upper levels, so the deepest one must hold the structure. Ours: the HOG
picture is clipped to 1, which is as far as a sigmoid goes, and it is made in torch rather than slice by slice.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from skimage.draw import line
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.network.affinities import AffinityNet, Architecture, Decoder, Encoder, check_window
from pipeline.training import sections

ORIENTATIONS, CELL = 9, 4  # of the HOG picture
LEFT_BEHIND = (".up.", ".outputs.")  # decoders: without skips, their tensors have other shapes
DEPTHS, SIDES, SHARE = (2, 4, 5), (4, 8, 16), (0.5, 0.7)  # of the blocks that become noise


class Rebuilder(nn.Module):
    """(B, 1, D, H, W) -> (B, 2, D, H, W): rebuilt grey and HOG picture in [0, 1], from level 4 alone."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.encoder = Encoder(architecture)
        self.grey = Decoder(architecture, 1, skips=False)
        self.hog = Decoder(architecture, 1, skips=False)

    def forward(self, window: Tensor) -> Tensor:
        check_window(window)
        features = self.encoder(window)
        return torch.cat([self.grey(features), self.hog(features)], 1).sigmoid()


class GaussianMaskTask:
    """Masked crops of unlabelled volumes for Rebuilder, for `loop.fit`.

    images: uint8 (D, H, W), each at least as large as the architecture's window. depths, sides: of the blocks, in
    voxels; all must divide the window. masked_only: the loss is taken over the noise alone. Raises InputError.
    """

    def __init__(
        self,
        images: list[np.ndarray],
        architecture: Architecture,
        *,
        size: int = 1,
        seed: int = 0,
        rate: float = 1e-3,
        depths: Sequence[int] = DEPTHS,
        sides: Sequence[int] = SIDES,
        masked_only: bool = False,
    ) -> None:
        self.images, self.size, self.seed, self.rate = images, size, seed, rate
        self.shape = (architecture.depth, architecture.height, architecture.width)
        self.depths, self.sides, self.masked_only = tuple(depths), tuple(sides), masked_only
        for image in images:
            if any(have < want for have, want in zip(image.shape, self.shape)):
                raise InputError(
                    "gaussian_mask", f"a volume of {image.shape}", f"at least {self.shape} voxels"
                )
        for blocks, lengths in ((self.depths, self.shape[:1]), (self.sides, self.shape[1:])):
            if any(length % block for block in blocks for length in lengths):
                raise InputError("gaussian_mask", f"blocks of {blocks} voxels", f"divisors of {lengths}")

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Masked and clean crops, float32, and the mask, bool; (B, 1, D, H, W) each."""
        rng = np.random.default_rng([self.seed, step])
        clean, masks = [], []
        for _ in range(self.size):
            image = self.images[int(rng.integers(len(self.images)))]
            low = [int(rng.integers(0, have - want + 1)) for have, want in zip(image.shape, self.shape)]
            crop = image[tuple(slice(start, start + want) for start, want in zip(low, self.shape))]
            clean.append(sections.turn(rng, crop.astype(np.float32) / 255)[0])
            masks.append(draw_mask(rng, self.shape, depths=self.depths, sides=self.sides))
        noisy = [replace_by_noise(rng, crop, mask) for crop, mask in zip(clean, masks)]
        return tuple(torch.from_numpy(np.stack(part)[:, None]) for part in (noisy, clean, masks))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        """0.2 times the squared error of the grey plus that of the HOG picture of the clean crop."""
        noisy, clean, mask = batch
        target = torch.cat([clean, hog_picture(clean[:, 0]).clamp(max=1)[:, None]], 1)
        error = (model(noisy).float() - target).square()
        if self.masked_only:
            error = (error * mask).sum((0, 2, 3, 4)) / mask.sum().clamp(min=1)
        else:
            error = error.mean((0, 2, 3, 4))
        return 0.2 * error[0] + error[1]

    def validate(self, model: nn.Module) -> float | None:
        """None: what counts is the network that is trained from this one."""
        return None

    def parameter_groups(self, model: nn.Module) -> list[dict]:
        """All parameters alike."""
        return [{"params": list(model.parameters()), "rate": self.rate, "weight_decay": 0.01}]


def fitting_blocks(architecture: Architecture) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The depths and sides of blocks that fill windows of an architecture; InputError where none does."""
    depths = tuple(depth for depth in DEPTHS if architecture.depth % depth == 0)
    sides = tuple(side for side in SIDES if not (architecture.height % side or architecture.width % side))
    if not depths or not sides:
        found = f"windows of {architecture.window} voxels"
        raise InputError("gaussian_mask", found, f"a depth that one of {DEPTHS} divides")
    return depths, sides


def draw_mask(
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    *,
    depths: Sequence[int] = DEPTHS,
    sides: Sequence[int] = SIDES,
    share: tuple[float, float] = SHARE,
) -> np.ndarray:
    """(D, H, W) bool: a drawn share, rounded down, of the blocks of one drawn size."""
    block = (int(rng.choice(depths)), *[int(rng.choice(sides))] * 2)
    grid = tuple(length // side for length, side in zip(shape, block))
    count = int(np.prod(grid))
    chosen = np.zeros(count, bool)
    chosen[rng.permutation(count)[: int(rng.uniform(*share) * count)]] = True
    return np.kron(chosen.reshape(grid), np.ones(block, bool))


def replace_by_noise(rng: np.random.Generator, crop: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The crop with independent noise of its mean and standard deviation under the mask, not clipped; float32."""
    noisy = crop.astype(np.float32)
    noisy[mask] = rng.normal(crop.mean(), crop.std(), int(mask.sum()))
    return noisy


def hog_picture(image: Tensor) -> Tensor:
    """The HOG picture that scikit-image draws (9 orientations, cells of 4 x 4, blocks of 1), slice by slice.

    image: (..., H, W), H and W multiples of 4. A cell's picture is a sum of nine short lines, each as bright as its
    bin; a line never leaves its cell, so the picture is the histogram times nine stamps.
    """
    down, right = torch.zeros_like(image), torch.zeros_like(image)
    down[..., 1:-1, :] = image[..., 2:, :] - image[..., :-2, :]
    right[..., 1:-1] = image[..., 2:] - image[..., :-2]
    degrees = torch.rad2deg(torch.atan2(down, right)) % 180
    strength = torch.hypot(down, right)
    picture = torch.zeros_like(image)
    stamps = _line_stamps().to(image)
    for bin_, stamp in enumerate(stamps):
        inside = (degrees >= bin_ * 180 / ORIENTATIONS) & (degrees < (bin_ + 1) * 180 / ORIENTATIONS)
        cells = F.avg_pool2d((strength * inside).flatten(0, -3)[:, None], CELL)
        height, width = cells.shape[-2:]
        picture += torch.kron(cells, stamp).reshape(picture.shape)
        assert picture.shape[-2:] == (height * CELL, width * CELL)
    return picture


def transfer(state: dict[str, Tensor], model: AffinityNet) -> None:
    """Fill the model's encoder from the state of a Rebuilder, key by key; its decoders stay as they are.

    Raises InputError when a tensor is unknown, missing or of another shape.
    """
    kept = {name: tensor for name, tensor in state.items() if not any(part in name for part in LEFT_BEHIND)}
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("encoder.")}
    wrong = sorted(kept.keys() ^ own.keys())
    wrong += sorted(name for name in kept.keys() & own.keys() if kept[name].shape != own[name].shape)
    if wrong:
        raise InputError(
            "gaussian_mask",
            f"{len(wrong)} tensors unknown, missing or misshapen ({', '.join(wrong[:3])})",
            f"the {len(own)} tensors of the encoder",
        )
    model.load_state_dict({**model.state_dict(), **kept})


def _line_stamps() -> Tensor:
    """(9, 4, 4) of 0 and 1: the line through a cell that stands for gradients of each orientation."""
    stamps = torch.zeros(ORIENTATIONS, CELL, CELL)
    radius, centre = CELL // 2 - 1, CELL // 2
    angles = np.pi * (np.arange(ORIENTATIONS) + 0.5) / ORIENTATIONS
    for stamp, down, right in zip(stamps, radius * np.sin(angles), radius * np.cos(angles)):
        # Lines lie along the edge, across the gradient: rows go with the cosine.
        rows, columns = line(int(centre - right), int(centre + down), int(centre + right), int(centre - down))
        stamp[rows, columns] = 1
    return stamps
