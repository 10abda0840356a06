"""Telling people: the channels, and what carries announcements to them."""
