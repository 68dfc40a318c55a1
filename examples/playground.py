"""A page to play with trained models: python examples/playground.py RUN [RUN2 ...]."""

import sys

from playground.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
