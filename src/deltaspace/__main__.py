"""`python -m deltaspace`."""

from deltaspace.cli import main

main()
