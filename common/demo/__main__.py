"""`python -m common.demo`: see `common/demo/chain.py`."""

from common import command
from common.demo.chain import Settings, main

if __name__ == "__main__":
    command.start(main, Settings)
