"""Sockets, bytes and the command line: everything between a tracker and the rules in `fsm`."""
