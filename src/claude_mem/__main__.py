"""`python -m claude_mem` is the `claude-mem` command."""

from claude_mem.cli.main import main

if __name__ == "__main__":
    main()
