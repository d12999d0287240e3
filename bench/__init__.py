"""Measures the program from outside. Nothing of it is part of what is installed."""
