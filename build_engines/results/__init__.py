"""What came of a variant, as three values: what was measured, what was decided from that, and what was published."""

from build_engines.results.measured import Measured, Table
from build_engines.results.result import COMPILER_WORDS, Decision, Explained, Outcome, Published, Result, best, decide
