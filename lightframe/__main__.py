"""`python -m lightframe`."""

from lightframe.cli import main

if __name__ == "__main__":
    main()
