"""Drives the real decisions on a virtual clock, and measures them against the offline optimum.

No I/O but in `command`, `lines` and `plot`; no clock at all: time is the workload's.
"""
