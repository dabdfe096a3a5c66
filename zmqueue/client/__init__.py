"""The client: what a user's program runs to submit, ask, lease and settle; and the worker around it.

`core.py` and what it is made of compute only: requests, packets and the time go in, packets and finished calls come
out. `transport.py` is the thread with the sockets, `client.py` the face.
"""
