"""Cut-outs: which pixels of a picture belong to its subject. One file per back-end."""
