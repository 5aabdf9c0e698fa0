"""`python -m powerbert_tf.server FOLDER`: the same as `powerbert serve FOLDER`."""

import sys

from powerbert_tf.server.command import start

if __name__ == "__main__":
    start(sys.argv[1:])
