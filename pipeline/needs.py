"""What the job of each stage needs: memory and time, as a cluster asks for them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """Memory and time of one job: a fixed part and one that grows with the image."""

    mb: float
    bytes_per_voxel: float = 0.0
    minutes: float = 5.0
    seconds_per_megavoxel: float = 0.0

    def mem_mb(self, voxels: int, *, attempt: int) -> int:
        """Twice as much at the second attempt, three times at the third."""
        return round((self.mb + self.bytes_per_voxel * voxels / 1e6) * attempt)

    def runtime(self, voxels: int, *, attempt: int) -> int:
        """Minutes."""
        return round((self.minutes + self.seconds_per_megavoxel * voxels / 1e6 / 60) * attempt)


# Measured with tubes in 8 and 75 million voxels (segment 115 MB + 14 bytes a voxel of 16 bits, trace 140 MB + 15), and
# half as much again for fuller images; 500 MB on top are for the two Snakemake processes of a cluster job. The nodes of
# trace take 1.8 kB each, whatever their radii (tracing.radius looks at PLACES at once): one for 200 voxels of the image
# lies within the half as much again (the tubes have one for 1,600). skeletonize: 4.8 GB for the 134 million voxels of a
# volume full of large cells (docs/em.md).
NEEDS = {
    "ingest": Need(1100, seconds_per_megavoxel=1),
    "tile": Need(900, seconds_per_megavoxel=1),
    "infer": Need(2500, seconds_per_megavoxel=60),
    "stack": Need(900, seconds_per_megavoxel=1),
    "segment": Need(900, bytes_per_voxel=21, seconds_per_megavoxel=2),
    "trace": Need(1100, bytes_per_voxel=30, seconds_per_megavoxel=10),
    "agglomerate": Need(1500, bytes_per_voxel=45, seconds_per_megavoxel=20),
    "skeletonize": Need(1500, bytes_per_voxel=30, seconds_per_megavoxel=30),
    "evaluate": Need(900),
    "evaluate_cells": Need(1100, bytes_per_voxel=60, seconds_per_megavoxel=10),
    "draw": Need(1100, bytes_per_voxel=2, seconds_per_megavoxel=1),
    "draw_cells": Need(1100, bytes_per_voxel=60, seconds_per_megavoxel=10),
}


def batch_mem_mb(voxels: list[int], *, threads: int, attempt: int) -> int:
    """As many jobs at once as there are threads, each as large as the largest."""
    return threads * max(need.mem_mb(max(voxels), attempt=attempt) for need in NEEDS.values())


def batch_runtime(voxels: list[int], *, threads: int, attempt: int) -> int:
    """Minutes for all samples of a batch; small images take seconds where NEEDS grants minutes."""
    seconds = sum(20 + sum(need.seconds_per_megavoxel for need in NEEDS.values()) * n / 1e6 for n in voxels)
    return round((10 + seconds / 60 / threads) * attempt)
