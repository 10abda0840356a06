"""The real flows, tasks, life cycle and state DB on a virtual clock, with faults at every step."""
