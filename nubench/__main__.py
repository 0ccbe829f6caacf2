"""`python -m nubench`."""

from nubench.cli import main

main()
