"""From labelled voxels to one rooted tree (arrays and trees in, trees out; never torch)."""
