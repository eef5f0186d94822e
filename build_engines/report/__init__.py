"""What came of a build, as a page, a chart and JSON. Only renders: no step knows it."""

from build_engines.report.files import JSON_FILE, MARKDOWN_FILE, write
from build_engines.report.report import Report
