"""What a study found: tables for the terminal, and one HTML page with everything."""

from deltaspace.report.page import write_report

__all__ = ["write_report"]
