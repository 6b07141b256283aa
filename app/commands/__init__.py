"""One module per subcommand; what is heavy is imported when a command runs, so that ``--help`` is quick."""
