"""`python -m hatnet`, for `torchrun -m hatnet`."""

from hatnet.cli import main

main()
