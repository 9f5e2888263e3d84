"""`python -m dither.cli`."""

from dither.cli import main

main()
