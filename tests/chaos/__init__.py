"""Chaos on the real thing: every part but the nodes is killed or frozen, and restarted."""
