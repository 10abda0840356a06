"""Example worksets, the reads they name and a small pipeline that reports on them."""
