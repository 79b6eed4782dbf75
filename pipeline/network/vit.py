"""timm's vision transformer blocks: the one place that imports timm."""

import sys

import torch


def import_timm_block() -> type:
    """Return timm's `Block` class.

    timm imports torchvision, whose compiled part cannot be loaded beside a CPU-only torch (the index offers it
    for CUDA builds). Its import then only misses two operators that nothing here calls: declare them, try again.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            _STAND_INS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision  # noqa: F401
    from timm.models.vision_transformer import Block

    return Block


# Kept for the life of the process: the operators vanish with the object.
_STAND_INS = torch.library.Library("torchvision", "FRAGMENT")
