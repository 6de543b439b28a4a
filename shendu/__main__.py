"""`python -m shendu` is `shendu`."""

from shendu.cli import main

main()
