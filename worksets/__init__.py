"""What a workset is: models, life cycle, placement. Pure functions over values.

Nothing here does I/O, reads a clock or imports Prefect: whatever changes comes in as an argument.
"""
