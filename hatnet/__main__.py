"""`python -m hatnet`, for `torchrun -m hatnet`."""

from hatnet.cli.main import main

main()
