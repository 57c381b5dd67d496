"""What administrators do, over HTTP and on the command line alike: one service for each noun.

A service's methods are told who is acting, and write down in the log what they change. Whether the actor may is settled
before (`policy.roles`).
"""
