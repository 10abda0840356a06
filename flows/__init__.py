"""What happens in which order.

Each flow says `retries=0` and `persist_result=False`: a team's profile may have other defaults, and
the state DB alone decides what is tried again and keeps what is to be kept.
"""
