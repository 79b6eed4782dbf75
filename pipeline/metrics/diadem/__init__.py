"""The DIADEM metric: the tree as it sees it, and the matching of two trees."""
