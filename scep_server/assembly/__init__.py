"""Takes settings. Gives a Site for a command, a first run for a newcomer, or a server until SIGTERM.

May touch everything below: this is the one place where all rooms meet. Import its modules one by one: a command that
only lists the ledger does not wait for the server's to load.
"""
