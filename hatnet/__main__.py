"""Run the command line with `python -m hatnet` or `torchrun -m hatnet`."""

from hatnet.cli.main import main

main()
