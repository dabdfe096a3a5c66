"""What a queue may be called: one rule, for the node's door and for the client, which tells sooner."""

from __future__ import annotations

import re

QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", re.ASCII)
QUEUE_NAME_RULE = "a queue's name begins with a letter or digit and is made of A-Z a-z 0-9 . _ : / -"
