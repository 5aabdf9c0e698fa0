"""The command line of the pipeline."""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

from powerbert_tf.common.errors import InputError

if __name__ == "__main__":
    try:
        from powerbert_tf.beam.command import main
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "apache_beam":
            raise
        print("error: apache-beam is not installed; pip install apache-beam", file=sys.stderr)
        sys.exit(2)
    try:
        main(sys.argv[1:])
    except (InputError, OSError) as error:
        print("error:", *str(error).split(), file=sys.stderr)
        sys.exit(2)
