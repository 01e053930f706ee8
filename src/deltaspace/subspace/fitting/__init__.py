"""What projection methods share: source solutions, the joint SVD, maps in training, and the base of a method."""

from deltaspace.subspace.fitting.method import Approximation, Fitted, Problem, ProjectionMethod
from deltaspace.subspace.fitting.source import Source

__all__ = ["Approximation", "Fitted", "Problem", "ProjectionMethod", "Source"]
