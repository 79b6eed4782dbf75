"""Grown morphologies and the microscope that pictures them: truth known exactly."""
