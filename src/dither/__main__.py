"""`python -m dither`."""

from dither.cli import main

main()
