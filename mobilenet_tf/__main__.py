"""`python -m mobilenet_tf` is the command line."""

from mobilenet_tf.cli import main

if __name__ == "__main__":
    main()
