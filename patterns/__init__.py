"""The ways in which a caller gets a result, and a worker its work: on nothing but the public names of `zmqueue`.

| module | the caller | choose it when |
| --- | --- | --- |
| `short_polling` | asks now and then; each answer comes at once | callers come and go: pages, phones, scripts |
| `long_polling` | asks once, and the answer is held back until there is one | somebody waits for it now |
| `streaming` | follows each step, and goes on where it was | somebody watches: progress, logs, texts that grow |
| `worker_pool` | (the other side) handlers run in threads or processes | there is work to be done |

Each module is meant to be read: the sequence as a picture, when to choose it, what it costs, what happens when
something fails, its limits; then little code. The token is the same in all of them, so a caller may change its mind.
"""

from __future__ import annotations
