"""Grown morphologies and the microscope that pictures them: truth known exactly."""

from pipeline.simulation.grow import grow
from pipeline.simulation.render import Camera, Staining, render
from pipeline.simulation.scene import random_scene, random_voxel_size

__all__ = ["Camera", "Staining", "grow", "random_scene", "random_voxel_size", "render"]
