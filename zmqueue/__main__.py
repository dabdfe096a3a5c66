"""`python -m zmqueue`: the command line."""

from __future__ import annotations

from zmqueue.cli import main

if __name__ == "__main__":
    main()
