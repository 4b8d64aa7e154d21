"""The claims of this project, as tests, ordered from primitives to the whole network."""
