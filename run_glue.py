"""The command line from a checkout: `python run_glue.py --task=MRPC`; see `powerbert_tf.command_line`."""

from powerbert_tf.command_line import run

if __name__ == "__main__":
    run()
