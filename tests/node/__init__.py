"""The node: embedded, on real sockets and files."""
