"""One module a stage: files in, files out. A stage reads, calls, writes and prints what it made, nothing else."""

# A rule passes the version of its stage, so that a changed stage runs again with what follows. Raise it by one in the
# commit that changes the bytes of the stage's output for the same input and settings.
VERSIONS = {
    "ingest": 12,
    "tile": 7,
    "infer": 6,
    "stack": 3,
    "segment": 3,
    "trace": 16,
    "agglomerate": 5,
    "skeletonize": 2,
    "evaluate": 5,
    "draw": 2,
    "simulate": 2,
    "dino": 1,
    "train": 8,
    "train_em": 5,
    "ablation_lm_score": 4,
    "ablation_lm_table": 3,
    "ablation_score": 6,
    "ablation_table": 1,
    "summarize": 2,
    "leaderboard": 1,
}
