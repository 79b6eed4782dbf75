"""Paths through rooted trees: walks to the root, ways between points, which paths of the reference a tree keeps."""
