"""How a gateway has ended, if not in order."""

EXIT_CRASHED, EXIT_FENCED = 1, 3
