"""Everything that is to be measured on a GPU, as pieces that can be run one by one: `python -m tests.on_gpu`."""
