"""Accuracy and speed of a variant, and the gate that decides by them."""

from build_engines.judge.accuracy import Accuracy, Labelled, compare
from build_engines.judge.gate import GATE, Gate, Verdict, drop_interval, judge
from build_engines.judge.sizes import SIZE_TOLERANCE, check_sizes
from build_engines.judge.speed import Course, Race, Timing, race, time_alone
