"""`worksets`: the command line. It does what the deployments do, by the same functions.

It works without Prefect's server where it is given a settings file: the state DB decides, not the
server.
"""
