"""The protocol: state machines without socket, clock, thread, file or randomness of their own."""
