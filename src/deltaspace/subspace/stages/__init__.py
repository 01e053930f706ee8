"""The stages that work in a subspace: approximate, optimize, transfer. One file a stage."""
