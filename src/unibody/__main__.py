"""`python -m unibody` is the command line."""

from unibody.cli import main

if __name__ == "__main__":
    main()
