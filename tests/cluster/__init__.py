"""Real clusters: node processes, real sockets, real files."""
