"""The steps of a build: what each makes, what decides its result, and that it is made once."""

from build_engines.steps.companion import load_companion
from build_engines.steps.step import Progress, Silent
from build_engines.steps.steps import Steps, Variant
