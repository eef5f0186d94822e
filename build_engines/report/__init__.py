"""What came of a build, as a page, a chart and JSON."""
