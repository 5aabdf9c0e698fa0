"""The command line from a checkout: `python run_glue.py --task=MRPC`; see `powerbert_tf.command_line`."""

from powerbert_tf.command_line import start

if __name__ == "__main__":
    start()
