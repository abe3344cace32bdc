"""What is timed, against what, in turns in one run. Ratios are the result; milliseconds are this machine's."""
