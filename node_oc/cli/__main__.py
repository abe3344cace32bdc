"""`python -m node_oc.cli` is `node-oc`."""

from node_oc.cli import main

main()
