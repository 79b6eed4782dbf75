"""One module a stage: files in, files out."""
