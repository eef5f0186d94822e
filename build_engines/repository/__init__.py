"""Triton's model repository: publishing, rolling back, removing, and a running Triton that follows."""

from build_engines.repository.changes import Removal, Rollback, prune, rollback, withdraw
from build_engines.repository.entries import Description, inspect, published
from build_engines.repository.layout import check_ours, newest_inputs, served
from build_engines.repository.loading import Expected, is_served, load, load_and_check
from build_engines.repository.publication import Publication, publish
from build_engines.repository.running_triton import Limits, RunningTriton
from build_engines.repository.targets import check_kind, check_target
from build_engines.repository.trials import Tunable, Tuned, retune, trial, tunable
from build_engines.repository.workspace import workspace
