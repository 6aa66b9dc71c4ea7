"""Unibody: one structure for a car maker's data and decisions."""

__version__ = "0.1.0"
