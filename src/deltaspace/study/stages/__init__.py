"""The stages of a study. A new one is one file with one registration."""
