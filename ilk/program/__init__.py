"""What programs share that are started from a command line: settings, printing, how they end."""
