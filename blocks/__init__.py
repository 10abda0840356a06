"""What we talk to, each a room: the state DB, clusters, folders and people; and the settings.

Most are saved, typed Prefect blocks.
"""
