"""Mutation testing: change the code in thousands of small ways, and see which changes no test notices."""
