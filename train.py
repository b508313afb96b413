"""`accelerate launch train.py PRESET [flags]`: the same as `charrnn-train`."""

from charrnn.cli.train import main

if __name__ == "__main__":
    main()
